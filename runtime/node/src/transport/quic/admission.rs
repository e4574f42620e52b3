//! Who may start a handshake: bounds on the peers that have not proved their key yet. Pure counting; the
//! caller accepts, asks for a retry or refuses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::QuicConfig;

/// The handshakes that are under way.
pub(crate) struct Door {
    max: usize,
    max_per_ip: usize,
    validate_above: usize,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    total: usize,
    by_origin: HashMap<IpAddr, usize>,
}

/// What to do with one that knocks.
pub(crate) enum Admission {
    /// Shake hands, and keep the ticket until that is over.
    Accept(Ticket),
    /// Let the peer show first that it receives at its address. Costs no memory here.
    Validate,
    /// Turn it away.
    Refuse,
}

/// A place inside; given back when dropped.
pub(crate) struct Ticket {
    origin: IpAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Door {
    pub(crate) fn new(config: &QuicConfig) -> Door {
        Door {
            max: config.max_handshakes,
            max_per_ip: config.max_handshakes_per_ip,
            validate_above: config.validate_above,
            inside: Arc::default(),
        }
    }

    /// Judges a peer at `ip`, which is `validated` if it has shown that it receives there.
    pub(crate) fn judge(&self, ip: IpAddr, validated: bool) -> Admission {
        let origin = origin(ip);
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let here = inside.by_origin.get(&origin).copied().unwrap_or(0);
        let full = inside.total >= self.max || here >= self.max_per_ip;
        match validated {
            false if full || inside.total >= self.validate_above => Admission::Validate,
            true if full => Admission::Refuse,
            _ => {
                inside.total += 1;
                *inside.by_origin.entry(origin).or_default() += 1;
                Admission::Accept(Ticket { origin, inside: Arc::clone(&self.inside) })
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.total -= 1;
        if let Some(here) = inside.by_origin.get_mut(&self.origin) {
            *here -= 1;
            if *here == 0 {
                inside.by_origin.remove(&self.origin);
            }
        }
    }
}

/// Returns what counts as one origin: an IPv4 address, or the /64 that one IPv6 subscriber commonly has.
fn origin(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door::new(&QuicConfig {
            max_handshakes: 4,
            max_handshakes_per_ip: 2,
            validate_above: 3,
            ..QuicConfig::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn accept(door: &Door, from: &str, validated: bool) -> Ticket {
        match door.judge(ip(from), validated) {
            Admission::Accept(ticket) => ticket,
            _ => panic!("{from} was not accepted"),
        }
    }

    #[test]
    fn one_origin_cannot_take_every_place() {
        let door = door();
        let _inside = [accept(&door, "10.0.0.1", true), accept(&door, "10.0.0.1", true)];

        assert!(matches!(door.judge(ip("10.0.0.1"), true), Admission::Refuse));
        assert!(matches!(door.judge(ip("::ffff:10.0.0.1"), true), Admission::Refuse));
        drop(accept(&door, "10.0.0.2", true));
    }

    #[test]
    fn the_addresses_of_one_ipv6_subscriber_count_as_one() {
        let door = door();
        let _inside = [accept(&door, "2001:db8::1", true), accept(&door, "2001:db8::2", true)];

        assert!(matches!(door.judge(ip("2001:db8::3"), true), Admission::Refuse));
        drop(accept(&door, "2001:db8:0:1::1", true));
    }

    #[test]
    fn under_load_an_address_must_be_shown_to_be_real() {
        let door = door();
        let mut inside = vec![];
        for n in 1..=3 {
            inside.push(accept(&door, &format!("10.0.0.{n}"), false));
        }

        assert!(matches!(door.judge(ip("10.0.0.4"), false), Admission::Validate));
        inside.push(accept(&door, "10.0.0.4", true));
        assert!(matches!(door.judge(ip("10.0.0.5"), true), Admission::Refuse));
        assert!(matches!(door.judge(ip("10.0.0.5"), false), Admission::Validate));

        drop(inside);
        drop(accept(&door, "10.0.0.5", false));
        assert!(
            door.inside.lock().unwrap().by_origin.is_empty(),
            "an origin is forgotten with its last handshake"
        );
    }
}
