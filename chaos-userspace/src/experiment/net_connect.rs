//! `net.connect`: its keys, and its rules.

use std::{fmt, str::FromStr};

use super::{
    NetConnect, Protocol,
    memory::check_twice,
    set::add,
    violation::BadValue,
    wording::{all_of, guess, quoted},
};

/// What is asked of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectOp {
    /// It is connected to somebody.
    Connect,
    /// A datagram is sent to somebody whom it is not connected to.
    Sendmsg,
    /// It is given an address of its own.
    Bind,
}

impl ConnectOp {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Sendmsg, Self::Bind];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Sendmsg => "sendmsg",
            Self::Bind => "bind",
        }
    }

    /// What it is to a program.
    pub(crate) const fn operation(self) -> chaos_common::ConnectOp {
        match self {
            Self::Connect => chaos_common::ConnectOp::Connect,
            Self::Sendmsg => chaos_common::ConnectOp::Sendmsg,
            Self::Bind => chaos_common::ConnectOp::Bind,
        }
    }
}

impl fmt::Display for ConnectOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ConnectOp {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|op| op.name() == text);
        known.ok_or_else(|| {
            let remedy = match text {
                "sendto" | "sendmmsg" => "say sendmsg, which is all of them".to_owned(),
                "accept" | "accept4" | "listen" | "send" | "recv" | "recvmsg" | "recvfrom" => {
                    format!("say syscall.error:{text} for that")
                }
                _ => guess(text, &Self::ALL.map(Self::name)),
            };
            BadValue::new(
                format!("{} is nothing that can be asked here", quoted(text)),
                remedy,
            )
        })
    }
}

impl NetConnect {
    /// Sets a key, if it is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "ops" => add(&mut self.ops, text)?,
            "errno" => self.errno = text.parse()?,
            _ => return self.filter.set(key, text),
        }
        Ok(true)
    }

    /// What it has to keep, key by key.
    pub(super) fn rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let filter = &self.filter;
        let mut rules = vec![("ops", check_twice(&self.ops))];
        rules.extend(filter.rules());
        for (key, is_set, has) in [
            ("peer", !filter.peer.is_empty(), Self::HAVE_PEER),
            ("peerPort", filter.peer_port.is_some(), Self::HAVE_PEER),
            ("localPort", filter.local_port.is_some(), Self::HAVE_LOCAL),
        ] {
            if is_set {
                rules.push((key, self.check_part(has)));
            }
        }
        if filter.protocol == Some(Protocol::Tcp) && self.operations() == [ConnectOp::Sendmsg] {
            let bad = BadValue::new(
                "only a datagram is sent to somebody whom the socket is not connected to",
                "say udp, or leave it out",
            );
            rules.push(("proto", Err(bad)));
        }
        rules
    }

    /// What it is about.
    pub(crate) fn operations(&self) -> &[ConnectOp] {
        if self.ops.is_empty() {
            &[ConnectOp::Connect]
        } else {
            &self.ops
        }
    }

    const HAVE_PEER: &[ConnectOp] = &[ConnectOp::Connect, ConnectOp::Sendmsg];
    const HAVE_LOCAL: &[ConnectOp] = &[ConnectOp::Bind];

    /// That each of its operations is one of those that have a part.
    fn check_part(&self, has: &[ConnectOp]) -> Result<(), BadValue> {
        let without: Vec<&str> = self
            .operations()
            .iter()
            .filter(|op| !has.contains(op))
            .map(|op| op.name())
            .collect();
        if without.is_empty() {
            return Ok(());
        }
        let (lack, say) = if has == Self::HAVE_LOCAL {
            ("which knows no port of its own", "peerPort")
        } else {
            ("which has no other end", "localPort")
        };
        Err(BadValue::new(
            format!("can't be asked of {}, {lack}", all_of(&without)),
            format!("leave it out, or say {say}, or write a fault for each operation"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::word;

    #[test]
    fn each_operation_has_a_name_and_a_number_of_its_own() {
        for (index, op) in ConnectOp::ALL.into_iter().enumerate() {
            assert_eq!(op.name().parse(), Ok(op));
            assert_eq!(op.operation() as usize, index);
            assert_eq!(op.operation(), chaos_common::ConnectOp::ALL[index]);
        }
    }

    #[test]
    fn words_of_sockets() {
        for good in [
            "net.connect=ETIMEDOUT",
            "net.connect:connect=ETIMEDOUT@50%,peer=10.0.0.0/8,peer=::1,peerPort=5432,proto=tcp",
            "net.connect:connect+sendmsg=EHOSTUNREACH,peer=10.0.0.7,when=3,comm=curl",
            "net.connect:bind=EADDRINUSE,localPort=80,times=1",
            "net.connect:connect+sendmsg+bind=EPERM,proto=udp,exclude=/a/b",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        for (bad, message) in [
            (
                "net.connect:conect=EIO",
                "ops: 'conect' is nothing that can be asked here; did you mean connect?",
            ),
            (
                "net.connect:sendto=EIO",
                "ops: 'sendto' is nothing that can be asked here; say sendmsg, which is all of them",
            ),
            (
                "net.connect:accept4=EIO",
                "ops: 'accept4' is nothing that can be asked here; say syscall.error:accept4 for that",
            ),
            (
                "net.connect:bind+bind=EIO",
                "ops: 'bind' is named twice; name it once",
            ),
            (
                "net.connect:connect",
                "errno: is missing; write it as in net.connect:connect=ETIMEDOUT",
            ),
            (
                "net.connect=EIO,localPort=80",
                "localPort: can't be asked of connect, which knows no port of its own; \
                 leave it out, or say peerPort, or write a fault for each operation",
            ),
            (
                "net.connect:connect+bind=EIO,peer=10.0.0.1",
                "peer: can't be asked of bind, which has no other end; \
                 leave it out, or say localPort, or write a fault for each operation",
            ),
            (
                "net.connect:sendmsg=EIO,proto=tcp",
                "proto: only a datagram is sent to somebody whom the socket is not connected to; \
                 say udp, or leave it out",
            ),
            (
                "net.connect=EIO,proto=quic",
                "proto: 'quic' is not such a protocol; say tcp or udp",
            ),
            (
                "net.connect=EIO,peerPort=0",
                "peerPort: '0' is not a port; say a number from 1 to 65535",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }
}
