//! Which addresses a plugin may be connected to.
//!
//! An address is public only if it is known to be: for IPv6 that is global unicast, so that every form which
//! wraps an IPv4 address (mapped, compatible, NAT64, and within global unicast 6to4 and Teredo) is refused
//! without being unwrapped. What is not public can be reached only where the grant names it with its port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What keeps an address from being public; `None` for one that is.
pub fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => not_public_v6(address),
    }
}

/// Whether a plugin may be connected to `address`, where its grant lists `private`.
pub(crate) fn vet(address: SocketAddr, private: &[SocketAddr]) -> Result<(), &'static str> {
    let listed = private.iter().any(|listed| listed.ip() == address.ip() && listed.port() == address.port());
    match not_public(address.ip()) {
        Some(kind) if !listed => Err(kind),
        _ => Ok(()),
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    // Clouds answer with credentials there; the second one is in a public range.
    if matches!(address.octets(), [169, 254, 169, 254] | [168, 63, 129, 16]) {
        return Some("a metadata address");
    }
    Some(match address.octets() {
        [0, ..] => "unspecified",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "carrier-grade NAT",
        [127, ..] => "loopback",
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] | [192, 88, 99, _] => "reserved for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "for documentation",
        [198, 18..=19, ..] => "for benchmarks",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved or broadcast",
        _ => return None,
    })
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) {
        return Some("a metadata address");
    }
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0xffff, ..] => "an IPv4-mapped address",
        [0, 0, 0, 0, 0, 0, ..] => "an IPv4-compatible address",
        [0x64, 0xff9b, ..] => "a NAT64 address",
        [0x2001, 0, ..] => "a Teredo address",
        [0x2001, 0x0001..=0x01ff, ..] => "reserved for protocols",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => "for documentation",
        [0x2002, ..] => "a 6to4 address",
        // An IPv4 address behind ISATAP's mark.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => "an ISATAP address",
        [0x2000..=0x3fff, ..] => return None,
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local",
        [0xff00..=0xffff, ..] => "multicast",
        _ => "not in use",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2001:db7::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700:4700::1111",
            "2a00:1450:4001::200e",
            "3ffe::1",
            "3fff:1000::1",
        ] {
            assert_eq!(not_public(public.parse().unwrap()), None, "{public}");
        }
    }

    #[test]
    fn no_other_address_is_public() {
        for (address, kind) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.0.0.0", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.0", "carrier-grade NAT"),
            ("100.100.100.200", "carrier-grade NAT"),
            ("100.127.255.255", "carrier-grade NAT"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("168.63.129.16", "a metadata address"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "a metadata address"),
            ("169.254.170.2", "link-local"),
            ("172.16.0.0", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.1", "reserved for protocols"),
            ("192.0.0.192", "reserved for protocols"),
            ("192.0.2.1", "for documentation"),
            ("192.88.99.1", "reserved for protocols"),
            ("192.168.0.1", "private"),
            ("192.168.255.255", "private"),
            ("198.18.0.0", "for benchmarks"),
            ("198.19.255.255", "for benchmarks"),
            ("198.51.100.7", "for documentation"),
            ("203.0.113.7", "for documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved or broadcast"),
            ("255.255.255.255", "reserved or broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "an IPv4-compatible address"),
            ("::ffff:127.0.0.1", "an IPv4-mapped address"),
            ("::ffff:10.0.0.1", "an IPv4-mapped address"),
            ("::ffff:169.254.169.254", "an IPv4-mapped address"),
            ("::ffff:93.184.216.34", "an IPv4-mapped address"),
            ("::ffff:0:127.0.0.1", "not in use"),
            ("64:ff9b::7f00:1", "a NAT64 address"),
            ("64:ff9b:1::7f00:1", "a NAT64 address"),
            ("100::1", "not in use"),
            ("2001::1", "a Teredo address"),
            ("2001:0:7f00:1::", "a Teredo address"),
            ("2001:2::1", "reserved for protocols"),
            ("2001:20::1", "reserved for protocols"),
            ("2001:1ff:ffff::1", "reserved for protocols"),
            ("2001:db8::1", "for documentation"),
            ("2002:7f00:1::", "a 6to4 address"),
            ("2002:a9fe:a9fe::", "a 6to4 address"),
            ("2a00::5efe:7f00:1", "an ISATAP address"),
            ("2a00::200:5efe:a00:1", "an ISATAP address"),
            ("3fff::1", "for documentation"),
            ("3fff:fff::1", "for documentation"),
            ("4000::1", "not in use"),
            ("5f00::1", "not in use"),
            ("fc00::1", "private"),
            ("fd00:ec2::254", "a metadata address"),
            ("fd00:ec2::253", "private"),
            ("fdff::1", "private"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("ffff::1", "multicast"),
        ] {
            assert_eq!(not_public(address.parse().unwrap()), Some(kind), "{address}");
        }
    }

    #[test]
    fn a_grant_names_an_address_and_its_port() {
        let private = ["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()];
        for (address, allowed) in [
            ("127.0.0.1:80", true),
            ("127.0.0.1:81", false),
            ("127.0.0.2:80", false),
            ("[::1]:80", true),
            ("[::1]:81", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("1.1.1.1:81", true),
        ] {
            assert_eq!(vet(address.parse().unwrap(), &private).is_ok(), allowed, "{address}");
        }
    }
}
