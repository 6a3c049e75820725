//! `net.connect` and `net.reset`.

use super::Reader;
use crate::{
    api::proto,
    experiment::{ConnectOp, NetConnect, NetReset, Protocol, Share, SocketFilter},
};

impl Reader {
    pub(super) fn net_connect(&mut self, field: &str, wire: &proto::NetConnect) -> NetConnect {
        let mut ops = Vec::new();
        for op in &wire.ops {
            let known = ConnectOp::ALL
                .into_iter()
                .find(|known| i32::from(proto::ConnectOp::from(*known)) == *op);
            match known {
                Some(known) => ops.push(known),
                None => self.bad(&format!("{field}.ops"), format!("{op} is not an operation")),
            }
        }
        NetConnect {
            ops,
            errno: self.errno(field, &wire.errno),
            filter: self.socket_filter(field, wire.filter.as_ref()),
        }
    }

    pub(super) fn net_reset(&mut self, field: &str, wire: &proto::NetReset) -> NetReset {
        let at = format!("{field}.share");
        NetReset {
            share: if let Some(share) = wire.share {
                self.share(&at, share)
            } else {
                self.bad(&at, "is missing");
                Share::ALL
            },
            filter: self.socket_filter(field, wire.filter.as_ref()),
        }
    }

    fn socket_filter(&mut self, field: &str, wire: Option<&proto::SocketFilter>) -> SocketFilter {
        let Some(wire) = wire else {
            return SocketFilter::default();
        };
        let protocol = match proto::Protocol::try_from(wire.protocol) {
            Ok(proto::Protocol::Unspecified) => None,
            Ok(proto::Protocol::Tcp) => Some(Protocol::Tcp),
            Ok(proto::Protocol::Udp) => Some(Protocol::Udp),
            Err(_) => {
                let problem = format!("{} is not a protocol", wire.protocol);
                self.bad(&format!("{field}.proto"), problem);
                None
            }
        };
        // Validation refuses 0.
        let port = |port: Option<u32>| port.map(|port| port.try_into().unwrap_or(0));
        SocketFilter {
            peer: self.each(field, "peer", &wire.peer),
            peer_port: port(wire.peer_port),
            local_port: port(wire.local_port),
            protocol,
        }
    }
}
