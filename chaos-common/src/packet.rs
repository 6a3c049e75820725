//! What a rule wants of a packet, and what is known of one.

use crate::{Address, Filtered};

/// What a rule wants of a packet: the value of an optional map. Its networks are in a map of their own
/// ([`PeerKey`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PacketFilter {
    /// Which of the following count: bits of [`wants`].
    pub wants: u32,
    /// [`PacketFacts::proto`]
    pub proto: u32,
    /// [`PacketFacts::peer_port`]
    pub peer_port: u32,
    /// [`PacketFacts::local_port`]
    pub local_port: u32,
}

/// Bits of [`PacketFilter::wants`].
pub mod wants {
    /// The protocol.
    pub const PROTO: u32 = 1;
    /// The other end's port.
    pub const PEER_PORT: u32 = 1 << 1;
    /// The target's port.
    pub const LOCAL_PORT: u32 = 1 << 2;
    /// The rule has networks.
    pub const PEER: u32 = 1 << 3;
    /// Whoever lies in none of its networks is wanted, too: all of them are exceptions.
    pub const OTHERS: u32 = 1 << 4;
}

/// Some address of a network of a rule, after the number of bits that count of what follows it, as
/// the kernel's longest prefix match wants it. The rule and the family always count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeerKey {
    /// The rule's number.
    pub rule: u32,
    /// [`Address::family`]
    pub family: u32,
    /// The bytes of the address in their order on the wire; of IPv4 in the first four, the others zero.
    pub bytes: [u32; 4],
}

impl PeerKey {
    /// How many bits stand in front of the address.
    pub const FIXED_BITS: u32 = 64;
    /// All of it.
    pub const BITS: u32 = Self::FIXED_BITS + 128;
    /// What a rule's map says of a network that it wants.
    pub const IN: u32 = 1;
    /// And of an exception.
    pub const OUT: u32 = 2;

    /// For an address, of a rule.
    #[inline(always)]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "halves of words, and a family is 4 or 6"
    )]
    pub const fn of(rule: u32, address: &Address) -> Self {
        let [first, last] = address.words;
        let bytes = if address.family == Address::IPV4 {
            [(last >> 32) as u32, 0, 0, 0]
        } else {
            [
                first as u32,
                (first >> 32) as u32,
                last as u32,
                (last >> 32) as u32,
            ]
        };
        Self {
            rule,
            family: address.family as u32,
            bytes,
        }
    }
}

/// What is known of a packet, seen from the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PacketFacts {
    /// The other end; without a family if that is no packet of IP.
    pub peer: Address,
    /// What the header of IP is followed by, by its number; that of `ICMPv6` is that of ICMP. 0 if it
    /// could not be told.
    pub proto: u32,
    /// Whether the ports are known: not those of a later fragment, and of what has none.
    pub has_ports: u32,
    /// Of the other end.
    pub peer_port: u32,
    /// Of the target.
    pub local_port: u32,
    /// Where the header with the ports begins, in bytes from that of IP on.
    pub transport: u32,
    /// 0
    pub padding: u32,
}

impl PacketFacts {
    /// Numbers of protocols (IANA's "Protocol Numbers").
    pub const ICMP: u32 = 1;
    /// TCP
    pub const TCP: u32 = 6;
    /// UDP
    pub const UDP: u32 = 17;
    /// `ICMPv6`
    pub const ICMPV6: u32 = 58;
    /// SCTP
    pub const SCTP: u32 = 132;
    /// UDP-Lite
    pub const UDPLITE: u32 = 136;
}

impl PacketFilter {
    /// Whether a rule wants the packet. `listed` is what its networks say of the other end: 0 where none
    /// has it. One part that says no is enough, whatever is not known.
    #[inline(always)]
    #[must_use]
    pub fn filter(&self, facts: &PacketFacts, listed: impl FnOnce() -> u32) -> Filtered {
        let wants = |part: u32| self.wants & part != 0;
        if facts.peer.family == 0 {
            // What is asked for is in a header of IP, so this is somebody else's packet, such as ARP.
            return Filtered::Out;
        }
        if wants(wants::PROTO) && facts.proto != 0 && facts.proto != self.proto {
            return Filtered::Out;
        }
        let ports = wants(wants::PEER_PORT) || wants(wants::LOCAL_PORT);
        if ports && facts.has_ports == 0 && has_no_ports(facts.proto) {
            return Filtered::Out;
        }
        if facts.has_ports != 0
            && (wants(wants::PEER_PORT) && facts.peer_port != self.peer_port
                || wants(wants::LOCAL_PORT) && facts.local_port != self.local_port)
        {
            return Filtered::Out;
        }
        if wants(wants::PEER) {
            let wanted = match listed() {
                PeerKey::IN => true,
                PeerKey::OUT => false,
                _ => wants(wants::OTHERS),
            };
            if !wanted {
                return Filtered::Out;
            }
        }
        if wants(wants::PROTO) && facts.proto == 0 || ports && facts.has_ports == 0 {
            return Filtered::Unknown;
        }
        Filtered::In
    }
}

/// Whether that is a protocol whose packets never have ports, as far as is known.
#[inline(always)]
const fn has_no_ports(proto: u32) -> bool {
    !matches!(
        proto,
        0 | PacketFacts::TCP | PacketFacts::UDP | PacketFacts::SCTP | PacketFacts::UDPLITE
    )
}

const _: () = assert!(size_of::<PacketFilter>() == 16);
const _: () = assert!(size_of::<PeerKey>() == 24);
const _: () = assert!(size_of::<PacketFacts>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> PacketFacts {
        PacketFacts {
            peer: Address::ipv4(u32::from_ne_bytes([10, 1, 2, 3])),
            proto: PacketFacts::TCP,
            has_ports: 1,
            peer_port: 5432,
            local_port: 40_000,
            ..PacketFacts::default()
        }
    }

    fn filter(wants: u32) -> PacketFilter {
        PacketFilter {
            wants,
            proto: PacketFacts::TCP,
            peer_port: 5432,
            local_port: 40_000,
        }
    }

    #[test]
    fn everything_that_is_set_has_to_hold() {
        let all = filter(wants::PROTO | wants::PEER_PORT | wants::LOCAL_PORT);
        assert_eq!(all.filter(&facts(), || 0), Filtered::In);
        for other in [
            PacketFacts {
                proto: PacketFacts::UDP,
                ..facts()
            },
            PacketFacts {
                peer_port: 1,
                ..facts()
            },
            PacketFacts {
                local_port: 1,
                ..facts()
            },
            PacketFacts {
                peer: Address::default(),
                ..facts()
            },
        ] {
            assert_eq!(all.filter(&other, || 0), Filtered::Out);
        }
    }

    #[test]
    fn what_can_not_be_told_is_no_hit_and_no_miss() {
        let ports = filter(wants::PEER_PORT);
        let fragment = PacketFacts {
            has_ports: 0,
            ..facts()
        };
        assert_eq!(ports.filter(&fragment, || 0), Filtered::Unknown);
        let echo = PacketFacts {
            proto: PacketFacts::ICMP,
            ..fragment
        };
        assert_eq!(ports.filter(&echo, || 0), Filtered::Out);
        let unknown = PacketFacts {
            proto: 0,
            ..fragment
        };
        assert_eq!(
            filter(wants::PROTO).filter(&unknown, || 0),
            Filtered::Unknown
        );
    }

    #[test]
    fn networks_and_their_exceptions() {
        let listed = filter(wants::PEER);
        for (says, wanted) in [
            (PeerKey::IN, Filtered::In),
            (PeerKey::OUT, Filtered::Out),
            (0, Filtered::Out),
        ] {
            assert_eq!(listed.filter(&facts(), || says), wanted);
        }
        let others = filter(wants::PEER | wants::OTHERS);
        assert_eq!(others.filter(&facts(), || 0), Filtered::In);
        assert_eq!(others.filter(&facts(), || PeerKey::OUT), Filtered::Out);
    }

    #[test]
    fn a_key_has_the_bytes_in_the_order_of_the_wire() {
        let key = PeerKey::of(7, &facts().peer);
        assert_eq!(key.bytes[0].to_ne_bytes(), [10, 1, 2, 3]);
        let words = [0x0706_0504_0302_0100_u64, 0x0f0e_0d0c_0b0a_0908];
        let six = Address {
            family: Address::IPV6,
            words,
        };
        let key = PeerKey::of(7, &six);
        assert_eq!(key.bytes[1].to_ne_bytes(), words[0].to_ne_bytes()[4..]);
        assert_eq!(key.bytes[3].to_ne_bytes(), words[1].to_ne_bytes()[4..]);
    }
}
