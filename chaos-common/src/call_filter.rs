//! What a rule wants of a system call beyond its number, or of a socket, and what is known of these.

use crate::{Filtered, limits::PEERS};

/// What a rule wants of a system call, or of a socket: the value of an optional map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CallFilter {
    /// Which parts count: bits of [`part`].
    pub parts: u32,
    /// Kinds of descriptors, one [`FdKind::bit`] each.
    pub fd_kinds: u32,
    /// Which bits of an open's flags count.
    pub open_mask: u32,
    /// What they have to be.
    pub open_flags: u32,
    /// At least so many bytes.
    pub min_size: u64,
    /// The peer's port.
    pub port: u32,
    /// How many of `peers` count.
    pub peers_len: u32,
    /// The socket's own port.
    pub local_port: u32,
    /// Protocols, one [`Protocol::bit`] each.
    pub protocols: u32,
    /// The peer lies in one of these.
    pub peers: [Network; PEERS],
}

/// Bits of [`CallFilter::parts`] and of [`CallFacts::known`].
pub mod part {
    /// The kind of the descriptor.
    pub const FD: u32 = 1;
    /// How many bytes.
    pub const SIZE: u32 = 1 << 1;
    /// The flags of an open.
    pub const OPEN_FLAGS: u32 = 1 << 2;
    /// The peer's address.
    pub const PEER: u32 = 1 << 3;
    /// The peer's port; it is known with the address.
    pub const PORT: u32 = 1 << 4;
    /// The socket's own port. Of sockets only, not of system calls, as what follows.
    pub const LOCAL_PORT: u32 = 1 << 5;
    /// The socket's protocol.
    pub const PROTOCOL: u32 = 1 << 6;
}

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Protocol {
    /// A stream of TCP.
    Tcp = 6,
    /// Datagrams of UDP.
    Udp = 17,
}

impl Protocol {
    /// The bit of a protocol in a set, by its number of the internet protocol (`IPPROTO_TCP`, …); of
    /// those that no rule can name it is none.
    #[inline(always)]
    #[must_use]
    pub const fn bit(number: u32) -> u32 {
        if number < u32::BITS { 1 << number } else { 0 }
    }
}

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FdKind {
    /// A regular file; also a memory file.
    Regular = 0,
    /// A directory.
    Dir = 1,
    /// A socket.
    Socket = 2,
    /// A pipe, with a name or without.
    Pipe = 3,
    /// A device, of characters or blocks: terminals too.
    Device = 4,
    /// What has no place in any file system, such as an epoll, an eventfd or a timerfd.
    Anon = 5,
}

impl FdKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Regular,
        Self::Dir,
        Self::Socket,
        Self::Pipe,
        Self::Device,
        Self::Anon,
    ];

    /// Its bit in a set of kinds.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The kinds that a file mode as stat(2) gives it says, as bits: none for a symbolic link.
    #[inline(always)]
    #[must_use]
    pub const fn of_mode(mode: u32) -> u32 {
        /// `S_IFMT` (include/uapi/linux/stat.h), as is what follows.
        const TYPE: u32 = 0o170_000;
        match mode & TYPE {
            0o100_000 => Self::Regular.bit(),
            0o040_000 => Self::Dir.bit(),
            0o140_000 => Self::Socket.bit(),
            0o010_000 => Self::Pipe.bit(),
            0o020_000 | 0o060_000 => Self::Device.bit(),
            0 => Self::Anon.bit(),
            _ => 0,
        }
    }
}

/// What is known of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CallFacts {
    /// Which of the following is known: bits of [`part`].
    pub known: u32,
    /// An [`FdKind::bit`], or 0: the descriptor is none, or of no kind that has a name.
    pub fd_kind: u32,
    /// As the caller says them.
    pub open_flags: u32,
    /// 0 where there is no peer.
    pub port: u32,
    /// Bytes.
    pub size: u64,
    /// Whom the call talks to.
    pub peer: Address,
    /// The socket's own port.
    pub local_port: u32,
    /// A [`Protocol::bit`].
    pub protocol: u32,
}

/// An address of the internet protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Address {
    /// [`Address::IPV4`], [`Address::IPV6`], or 0 for no address.
    pub family: u64,
    /// Its bytes in their order on the wire. Of IPv4 in the last four, the others zero.
    pub words: [u64; 2],
}

impl Address {
    /// An address of IPv4.
    pub const IPV4: u64 = 4;
    /// An address of IPv6.
    pub const IPV6: u64 = 6;

    /// From four bytes, as a word of this machine.
    #[inline(always)]
    #[must_use]
    pub const fn ipv4(bytes: u32) -> Self {
        Self {
            family: Self::IPV4,
            words: [0, (bytes as u64) << 32],
        }
    }

    /// From 16 bytes, as words of this machine. What maps an address of IPv4 (RFC 4291, 2.5.5.2) is
    /// that address: sockets of IPv6 talk IPv4 so.
    #[inline(always)]
    #[must_use]
    pub const fn ipv6(words: [u64; 2]) -> Self {
        /// Bytes 8 to 11: two of zeros, two of ones.
        const MAPPED: u64 = 0xffff_0000;
        if words[0] == 0 && words[1] & 0xffff_ffff == MAPPED {
            return Self {
                family: Self::IPV4,
                words: [0, words[1] & !0xffff_ffff],
            };
        }
        Self {
            family: Self::IPV6,
            words,
        }
    }
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Network {
    /// One of them.
    pub address: Address,
    /// Which bits of it count.
    pub masks: [u64; 2],
}

impl Network {
    #[inline(always)]
    const fn contains(&self, address: &Address) -> bool {
        let wanted = &self.address;
        (address.family ^ wanted.family)
            | (address.words[0] ^ wanted.words[0]) & self.masks[0]
            | (address.words[1] ^ wanted.words[1]) & self.masks[1]
            == 0
    }
}

impl CallFilter {
    /// Whether a rule wants the call. One part that says no is enough, whatever is not known.
    #[inline(always)]
    #[must_use]
    pub fn filter(&self, facts: &CallFacts) -> Filtered {
        let counts = |part: u32| self.parts & facts.known & part != 0;
        let out = counts(part::FD) && self.fd_kinds & facts.fd_kind == 0
            || counts(part::SIZE) && facts.size < self.min_size
            || counts(part::OPEN_FLAGS) && facts.open_flags & self.open_mask != self.open_flags
            || counts(part::PORT) && (facts.peer.family == 0 || facts.port != self.port)
            || counts(part::LOCAL_PORT) && facts.local_port != self.local_port
            || counts(part::PROTOCOL) && facts.protocol & self.protocols == 0
            || counts(part::PEER) && !self.has_peer(&facts.peer);
        if out {
            Filtered::Out
        } else if self.parts & !facts.known != 0 {
            Filtered::Unknown
        } else {
            Filtered::In
        }
    }

    #[inline(always)]
    fn has_peer(&self, address: &Address) -> bool {
        let mut index = 0;
        while index < PEERS {
            if index >= self.peers_len as usize {
                break;
            }
            if self.peers[index].contains(address) {
                return true;
            }
            index += 1;
        }
        false
    }
}

const _: () = assert!(size_of::<Address>() == 24);
const _: () = assert!(size_of::<Network>() == 40);
const _: () = assert!(size_of::<CallFilter>() == 40 + 40 * PEERS);
const _: () = assert!(size_of::<CallFacts>() == 56);

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(bytes: [u8; 4]) -> Address {
        Address::ipv4(u32::from_ne_bytes(bytes))
    }

    #[test]
    fn one_part_that_says_no_is_enough() {
        let filter = CallFilter {
            parts: part::FD | part::SIZE,
            fd_kinds: FdKind::Regular.bit() | FdKind::Pipe.bit(),
            min_size: 10,
            ..CallFilter::default()
        };
        let facts = CallFacts {
            known: part::FD | part::SIZE,
            fd_kind: FdKind::of_mode(0o010_644),
            size: 10,
            ..CallFacts::default()
        };
        assert_eq!(filter.filter(&facts), Filtered::In);
        let short = CallFacts { size: 9, ..facts };
        assert_eq!(filter.filter(&short), Filtered::Out);
        let unknown = CallFacts {
            known: part::SIZE,
            ..facts
        };
        assert_eq!(filter.filter(&unknown), Filtered::Unknown);
        let short = CallFacts { size: 9, ..unknown };
        assert_eq!(filter.filter(&short), Filtered::Out);
        let none = CallFacts {
            fd_kind: 0,
            ..facts
        };
        assert_eq!(filter.filter(&none), Filtered::Out);
    }

    #[test]
    fn an_address_is_in_its_network_and_in_no_other() {
        let mask = u64::from_ne_bytes([0, 0, 0, 0, 255, 0, 0, 0]);
        let mut filter = CallFilter {
            parts: part::PEER,
            peers_len: 1,
            ..CallFilter::default()
        };
        filter.peers[0] = Network {
            address: v4([10, 0, 0, 0]),
            masks: [0, mask],
        };
        let says = |peer| {
            let facts = CallFacts {
                known: part::PEER,
                peer,
                ..CallFacts::default()
            };
            filter.filter(&facts)
        };
        assert_eq!(says(v4([10, 1, 2, 3])), Filtered::In);
        assert_eq!(says(v4([11, 1, 2, 3])), Filtered::Out);
        assert_eq!(says(Address::default()), Filtered::Out);
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[255, 255, 10, 9, 9, 9]);
        let words = |bytes: [u8; 16]| {
            let half = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
            [half(0), half(8)]
        };
        assert_eq!(says(Address::ipv6(words(mapped))), Filtered::In);
        mapped[0] = 1;
        assert_eq!(says(Address::ipv6(words(mapped))), Filtered::Out);
    }
}
