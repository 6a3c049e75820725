//! Which packets a fault is about: their direction, their other end, and what they carry.

use std::{fmt, str::FromStr};

use super::{
    Direction, Network,
    call_filter::{check_list, no_port, parse_port},
    keys::{Key, Type, key},
    names::parse_flag,
    set::add,
    violation::BadValue,
    wording::{guess, quoted},
};

/// Networks that one fault can name of each sort.
pub const MAX_PEERS: usize = 16_384;

/// Keys that every kind about packets has in its block.
pub(super) const OF_TRAFFIC: &[Key] = &[
    key("direction", Type::Text, "egress"),
    key("peer", Type::List, "[10.0.0.0/8]"),
    key("exceptPeer", Type::List, "[10.1.0.0/16]"),
    key("peerPort", Type::Count, "5432"),
    key("localPort", Type::Count, "8080"),
    key("proto", Type::Text, "tcp"),
    key("visible", Type::Flag, "true"),
];

/// Which packets of the target; everything that is set has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Seen from the target.
    pub direction: Direction,
    /// The other end lies in one of these networks, at most [`MAX_PEERS`]; none is everybody.
    pub peer: Vec<Network>,
    /// And in none of these, unless a longer prefix of `peer` has it.
    pub except_peer: Vec<Network>,
    /// The port of the other end.
    pub peer_port: Option<u16>,
    /// The target's own port.
    pub local_port: Option<u16>,
    /// What the packets carry.
    pub proto: Option<Proto>,
    /// Whoever sends a packet that is lost is told so by an error, which no network would do.
    pub visible: bool,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            direction: Direction::Both,
            peer: Vec::new(),
            except_peer: Vec::new(),
            peer_port: None,
            local_port: None,
            proto: None,
            visible: false,
        }
    }
}

/// What the header of IP is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// ICMP of either version of IP.
    Icmp,
    /// SCTP
    Sctp,
}

impl Proto {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Sctp];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Sctp => "sctp",
        }
    }

    /// Whether its packets have ports.
    const fn has_ports(self) -> bool {
        !matches!(self, Self::Icmp)
    }

    /// For programs: its number in IPv4. That of ICMP stands for `ICMPv6` as well.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp => 1,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Proto {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|proto| proto.name() == text);
        known.ok_or_else(|| {
            let problem = format!("{} is not a protocol that is known here", quoted(text));
            BadValue::new(problem, guess(text, &Self::ALL.map(Self::name)))
        })
    }
}

impl Traffic {
    /// Sets one of its keys from a text, which adds to a list; `false` when it has no such key.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "direction" => {
                self.direction = Direction::Ingress;
                self.direction = text.parse()?;
            }
            "peer" => add(&mut self.peer, text)?,
            "exceptPeer" => add(&mut self.except_peer, text)?,
            "peerPort" => self.peer_port = Some(parse_port(text)?),
            "localPort" => self.local_port = Some(parse_port(text)?),
            "proto" => self.proto = Some(text.parse()?),
            "visible" => self.visible = parse_flag(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Its rules, each under the key that has to change.
    pub(super) fn rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let mut rules = vec![
            ("peer", check_list(&self.peer, MAX_PEERS)),
            ("exceptPeer", check_list(&self.except_peer, MAX_PEERS)),
        ];
        if let Some(twice) = self
            .peer
            .iter()
            .find(|peer| self.except_peer.contains(peer))
        {
            let bad = BadValue::new(
                format!("names {twice}, and so does peer"),
                "name it in one of them",
            );
            rules.push(("exceptPeer", Err(bad)));
        }
        for (key, port) in [("peerPort", self.peer_port), ("localPort", self.local_port)] {
            if port == Some(0) {
                rules.push((key, Err(no_port("0"))));
            }
            if let Some(proto) = self
                .proto
                .filter(|proto| port.is_some() && !proto.has_ports())
            {
                let bad = BadValue::new(
                    format!("packets of {proto} have no ports"),
                    "leave it out, or say another proto",
                );
                rules.push((key, Err(bad)));
            }
        }
        if self.visible && self.direction == Direction::Ingress {
            let bad = BadValue::new(
                "is about what the target sends",
                "leave it out, or say direction egress or both",
            );
            rules.push(("visible", Err(bad)));
        }
        rules
    }

    /// Whether it leaves packets of a direction out.
    pub(crate) fn is_narrow(&self) -> bool {
        !self.peer.is_empty()
            || !self.except_peer.is_empty()
            || self.peer_port.is_some()
            || self.local_port.is_some()
            || self.proto.is_some()
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::word;

    #[test]
    fn what_is_wrong_with_traffic_is_said_with_a_remedy() {
        for (bad, message) in [
            (
                "net.loss=1%,proto=tcpp",
                "proto: 'tcpp' is not a protocol that is known here; did you mean tcp?",
            ),
            (
                "net.loss=1%,peerPort=0",
                "peerPort: '0' is not a port; say a number from 1 to 65535",
            ),
            (
                "net.loss=1%,proto=icmp,localPort=80",
                "localPort: packets of icmp have no ports; leave it out, or say another proto",
            ),
            (
                "net.loss=1%,peer=10.0.0.1,exceptPeer=10.0.0.1",
                "exceptPeer: names 10.0.0.1, and so does peer; name it in one of them",
            ),
            (
                "net.loss=1%,peer=10.0.0.1/8",
                "peer: '10.0.0.1/8' has bits beyond its first 8; say 10.0.0.0/8, or 10.0.0.1 alone",
            ),
            (
                "net.loss=1%,direction=ingress,visible=true",
                "visible: is about what the target sends; leave it out, or say direction egress or both",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }
}
