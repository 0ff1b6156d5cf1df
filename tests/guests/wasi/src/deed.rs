//! What can be ordered.

use std::hint::black_box;
use std::mem::forget;

use wasip2::cli::{environment, exit, stdout};
use wasip2::clocks::monotonic_clock::{now, subscribe_duration};
use wasip2::filesystem::preopens::get_directories;
use wasip2::io::poll::{Pollable, poll};
use wasip2::random::random::get_random_bytes;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp_create_socket::create_udp_socket;

const GIB: u64 = 1 << 30;

/// Does what a text orders; `None` where it orders nothing.
pub(crate) fn carry_out(order: &str) -> Option<String> {
    Some(match order {
        // Handles without end.
        "pollables" => loop {
            forget(subscribe_duration(0));
        },
        "streams" => loop {
            forget(stdout::get_stdout());
        },
        "sockets" => loop {
            forget(create_tcp_socket(IpAddressFamily::Ipv4));
        },
        // Waiting for nothing, for too much, or for ever.
        "poll-nothing" => format!("{:?}", poll(&[])),
        "poll-repeated" => {
            let never = subscribe_duration(u64::MAX);
            format!("{}", poll(&vec![&never; 1_000_000]).len())
        }
        "poll-many" => {
            let never: Vec<Pollable> = (0..400).map(|_| subscribe_duration(u64::MAX)).collect();
            poll(&never.iter().collect::<Vec<_>>());
            "over".to_owned()
        }
        "sleep" => {
            subscribe_duration(u64::MAX).block();
            "over".to_owned()
        }
        // Time that is the host's, not the guest's.
        "spin-clock" => loop {
            black_box(now());
        },
        "spin-random" => loop {
            black_box(get_random_bytes(64 << 10));
        },
        "spin-ready" => loop {
            subscribe_duration(0).block();
        },
        "random" => format!("{}", get_random_bytes(GIB).len()),
        // A line without end, and one that the host would have to make.
        "print" => {
            let stdout = stdout::get_stdout();
            let line = vec![b'x'; 4096];
            loop {
                if stdout.blocking_write_and_flush(&line).is_err() {
                    break "refused".to_owned();
                }
            }
        }
        "zeroes" => format!("{:?}", stdout::get_stdout().write_zeroes(1024 * GIB)),
        "exit" => {
            exit::exit(Ok(()));
            "over".to_owned()
        }
        "look" => look(),
        _ => return None,
    })
}

/// What there is of the host.
fn look() -> String {
    let network = instance_network();
    format!(
        "{} variables, {} arguments, {} directories; TCP {}, UDP {}, DNS {}",
        environment::get_environment().len(),
        environment::get_arguments().len(),
        get_directories().len(),
        create_tcp_socket(IpAddressFamily::Ipv4).map_or_else(|error| error.name(), |_| "given"),
        create_udp_socket(IpAddressFamily::Ipv6).map_or_else(|error| error.name(), |_| "given"),
        resolve_addresses(&network, "localhost").map_or_else(|error| error.name(), |_| "given"),
    )
}
