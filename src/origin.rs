//! Which pages may use the gateway, and under which names it may be called.
//!
//! A browser says whose page it shows (`Origin`) and whom it thinks it asks (`Host`). Without these rules
//! any page on the internet could steer the devices of whoever looks at it.

use std::net::{IpAddr, Ipv6Addr};

/// Whether a page of `origin` may use a port that serves no pages itself, asked for under `host`: a page of
/// the same host may, whatever its port, and so may those that are listed.
pub fn allowed(origin: &str, host: Option<&str>, listed: &[String]) -> bool {
    is_listed(origin, listed) || same(origin, host, |_, origin, host| origin.name == host.name)
}

/// Whether a page of `origin` may use the port that it came from, asked for under `host`: a page of the
/// same host and port may, and so may those that are listed.
pub fn allowed_on_same_port(origin: &str, host: Option<&str>, listed: &[String]) -> bool {
    let same_port = |usual, origin: &Place, host: &Place| {
        origin.name == host.name && origin.port.unwrap_or(usual) == host.port.unwrap_or(usual)
    };
    is_listed(origin, listed) || same(origin, host, same_port)
}

/// Whether the gateway may be called `host`, as it stands in the header of that name: a plain address,
/// localhost, or a listed name. A name of somebody else's that leads here would make their pages its own.
pub fn host_allowed(host: &str, listed: &[String]) -> bool {
    let Some(Place { name, .. }) = Place::of(host) else { return false };
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    };
    address || name == "localhost" || listed.contains(&name)
}

/// The name or address in a header `Host`, without the port and in lower case.
pub fn name(host: &str) -> Option<String> {
    Place::of(host).map(|place| place.name)
}

/// A host and its port as they stand in a header, in lower case.
struct Place {
    name: String,
    port: Option<u16>,
}

impl Place {
    fn of(text: &str) -> Option<Place> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse().ok()?)),
            _ => (text, None),
        };
        let complete = !name.is_empty() && (!name.contains(':') || name.starts_with('['));
        complete.then(|| Place { name: name.to_lowercase(), port })
    }
}

fn is_listed(origin: &str, listed: &[String]) -> bool {
    listed.iter().any(|one| one.eq_ignore_ascii_case(origin))
}

/// Compares an origin with a host, given the port that the origin's scheme means when it names none.
fn same(origin: &str, host: Option<&str>, alike: impl Fn(u16, &Place, &Place) -> bool) -> bool {
    let lower = origin.to_lowercase();
    let (usual, rest) = match (lower.strip_prefix("http://"), lower.strip_prefix("https://")) {
        (Some(rest), _) => (80, rest),
        (_, Some(rest)) => (443, rest),
        (None, None) => return false,
    };
    let (Some(origin), Some(host)) = (Place::of(rest), host.and_then(Place::of)) else { return false };
    alike(usual, &origin, &host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_same_host_may_use_a_port_without_pages() {
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8083"),
            ("https://Plant.Local", "plant.local:8083"),
            ("http://[::1]:8080", "[::1]:8083"),
        ] {
            assert!(allowed(origin, Some(host), &[]), "{origin} at {host}");
        }
    }

    #[test]
    fn a_page_of_another_host_may_not() {
        for (origin, host) in [
            ("http://evil.example", Some("127.0.0.1:8083")),
            ("http://127.0.0.1.evil.example:8083", Some("127.0.0.1:8083")),
            ("http://evil.example:80:8083", Some("evil.example:8083")),
            ("null", Some("null")),
            ("file://", Some("")),
            ("", Some("")),
            ("http://", Some("")),
            ("http://127.0.0.1:8080", None),
        ] {
            assert!(!allowed(origin, host, &[]), "{origin} at {host:?}");
            assert!(!allowed_on_same_port(origin, host, &[]), "{origin} at {host:?}");
        }
    }

    #[test]
    fn a_listed_page_may() {
        let listed = ["http://plant.local:3000".to_owned()];
        assert!(allowed("http://plant.local:3000", Some("127.0.0.1:8083"), &listed));
        assert!(allowed_on_same_port("http://Plant.local:3000", None, &listed));
        assert!(!allowed("http://plant.local:3001", Some("127.0.0.1:8083"), &listed));
    }

    #[test]
    fn where_there_are_pages_the_port_counts() {
        assert!(allowed_on_same_port("http://127.0.0.1:8080", Some("127.0.0.1:8080"), &[]));
        assert!(allowed_on_same_port("http://plant.local", Some("plant.local:80"), &[]));
        assert!(allowed_on_same_port("https://plant.local:443", Some("plant.local"), &[]));
        assert!(!allowed_on_same_port("http://127.0.0.1:3000", Some("127.0.0.1:8080"), &[]));
        assert!(!allowed_on_same_port("http://plant.local", Some("plant.local:443"), &[]));
    }

    #[test]
    fn the_gateway_is_called_by_address_or_by_a_known_name() {
        let listed = ["plant.local".to_owned()];
        for host in ["127.0.0.1", "192.168.1.5:8080", "[::1]:8080", "LOCALHOST:1", "Plant.local:8080"] {
            assert!(host_allowed(host, &listed), "{host}");
        }
        for host in ["evil.example:8080", "", ":8080", "127.0.0.1.evil.example", "::1", "[::1", "a:b", "[a]"]
        {
            assert!(!host_allowed(host, &listed), "{host}");
        }
    }
}
