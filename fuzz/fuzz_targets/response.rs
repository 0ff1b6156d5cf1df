#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rust_proxy_oracles::response(input));
