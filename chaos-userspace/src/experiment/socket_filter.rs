//! What a fault wants of a socket: whom it talks to, by which ports and which protocol.

use std::{fmt, str::FromStr};

use chaos_common::limits::PEERS;

use super::{
    Network,
    call_filter::{check_list, check_port, parse_port},
    set::add,
    violation::BadValue,
    wording::{guess, quoted},
};

/// Everything that is set has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFilter {
    /// The other end lies in one of these networks.
    pub peer: Vec<Network>,
    /// It has this port.
    pub peer_port: Option<u16>,
    /// The socket's own port.
    pub local_port: Option<u16>,
    /// What it speaks.
    pub protocol: Option<Protocol>,
}

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A stream of TCP.
    Tcp,
    /// Datagrams of UDP.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == text);
        known.ok_or_else(|| {
            BadValue::new(
                format!("{} is not such a protocol", quoted(text)),
                guess(text, &Self::ALL.map(Self::name)),
            )
        })
    }
}

impl SocketFilter {
    /// Sets one of its keys from a text, which adds to a list; `false` when it has no such key.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "peer" => add(&mut self.peer, text)?,
            "peerPort" => self.peer_port = Some(parse_port(text)?),
            "localPort" => self.local_port = Some(parse_port(text)?),
            "proto" => self.protocol = Some(text.parse()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Its rules, each under the key that has to change.
    pub(super) fn rules(&self) -> [(&'static str, Result<(), BadValue>); 3] {
        [
            ("peer", check_list(&self.peer, PEERS)),
            ("peerPort", check_port(self.peer_port)),
            ("localPort", check_port(self.local_port)),
        ]
    }
}
