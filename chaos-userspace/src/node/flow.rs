//! Between whom a packet was, read off its first bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The ends of a packet, and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The number of what the IP header is followed by: 6 is TCP, 17 UDP.
    pub protocol: u8,
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it was for.
    pub destination: IpAddr,
    /// Source and destination port, of protocols that have some, in the first fragment of a packet.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    /// Reads a packet's first bytes, from the network header on. `None` if that is neither IPv4 nor
    /// IPv6, or too short.
    pub fn read(head: &[u8]) -> Option<Self> {
        match head.first()? >> 4 {
            4 => Self::of_ipv4(head),
            6 => Self::of_ipv6(head),
            _ => None,
        }
    }

    /// RFC 791
    fn of_ipv4(head: &[u8]) -> Option<Self> {
        let length = usize::from(head[0] & 0xf) * 4;
        let fragment = u16::from_be_bytes(array(head, 6)?) & 0x1fff;
        let protocol = *head.get(9)?;
        Some(Self {
            protocol,
            source: Ipv4Addr::from(array::<4>(head, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(head, 16)?).into(),
            ports: (fragment == 0)
                .then(|| ports(protocol, head, length))
                .flatten(),
        })
    }

    /// RFC 8200; what follows extension headers is not looked at.
    fn of_ipv6(head: &[u8]) -> Option<Self> {
        let protocol = *head.get(6)?;
        Some(Self {
            protocol,
            source: Ipv6Addr::from(array::<16>(head, 8)?).into(),
            destination: Ipv6Addr::from(array::<16>(head, 24)?).into(),
            ports: ports(protocol, head, 40),
        })
    }

    /// The protocol's name in /etc/protocols, if it is one of the usual ones.
    pub fn protocol_name(&self) -> Option<&'static str> {
        match self.protocol {
            1 => Some("icmp"),
            6 => Some("tcp"),
            17 => Some("udp"),
            58 => Some("ipv6-icmp"),
            132 => Some("sctp"),
            _ => None,
        }
    }

    /// `10.0.0.1:80` or `[::1]:80`, or the address alone.
    pub fn ends(&self) -> (String, String) {
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
            (address, Some(port)) => format!("{address}:{port}"),
            (address, None) => address.to_string(),
        };
        let (from, to) = self.ports.unzip();
        (end(self.source, from), end(self.destination, to))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Those that TCP, UDP, DCCP, SCTP and UDP-Lite have in the same place.
fn ports(protocol: u8, head: &[u8], at: usize) -> Option<(u16, u16)> {
    matches!(protocol, 6 | 17 | 33 | 132 | 136).then_some(())?;
    Some((
        u16::from_be_bytes(array(head, at)?),
        u16::from_be_bytes(array(head, at + 2)?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 header of so many words, from 10.0.0.1 to 10.0.0.2, and the ports 4000 and 53.
    fn ipv4(words: u8, protocol: u8, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(words) * 4];
        packet[0] = 0x40 | words;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet.extend([0x0f, 0xa0, 0, 53, 0, 0, 0, 0]);
        packet
    }

    fn ends(packet: &[u8]) -> (String, String) {
        Flow::read(packet).unwrap().ends()
    }

    #[test]
    fn ends_are_read_off_the_header() {
        let both = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let whole = both("10.0.0.1:4000", "10.0.0.2:53");
        assert_eq!(ends(&ipv4(5, 17, 0)), whole);
        assert_eq!(ends(&ipv4(5, 6, 0x4000)), whole, "may not be fragmented");
        assert_eq!(ends(&ipv4(7, 6, 0)), whole, "with options");
        let bare = both("10.0.0.1", "10.0.0.2");
        assert_eq!(ends(&ipv4(5, 17, 0x2001)), bare, "a later fragment");
        assert_eq!(ends(&ipv4(5, 1, 0)), bare, "ICMP has none");
        assert_eq!(ends(&ipv4(5, 6, 0)[..22]), bare, "cut off");
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = 6;
        packet[23] = 1;
        packet[39] = 1;
        packet.extend([0x1f, 0x90, 0, 80]);
        assert_eq!(ends(&packet), both("[::1]:8080", "[::1]:80"));
        assert_eq!(Flow::read(&packet).unwrap().protocol_name(), Some("tcp"));
    }

    #[test]
    fn what_is_no_packet_has_no_ends() {
        for packet in [&[][..], &[0; 44], &[0x45; 12], &[0x60; 30]] {
            assert_eq!(Flow::read(packet), None);
        }
    }
}
