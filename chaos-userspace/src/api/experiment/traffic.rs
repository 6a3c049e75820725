//! Which packets a fault is about, in both directions.

use super::from_wire::Reader;
use crate::{
    api::proto,
    experiment::{Direction, NetDown, NetLoss, NetPartition, Share, Traffic, Violation},
};

impl From<Direction> for proto::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Egress => Self::Egress,
            Direction::Ingress => Self::Ingress,
            Direction::Both => Self::Both,
        }
    }
}

/// All but the direction, which stands beside it.
impl From<&Traffic> for proto::Traffic {
    fn from(traffic: &Traffic) -> Self {
        Self {
            peer: traffic.peer.iter().map(ToString::to_string).collect(),
            except_peer: traffic
                .except_peer
                .iter()
                .map(ToString::to_string)
                .collect(),
            peer_port: traffic.peer_port.map(Into::into),
            local_port: traffic.local_port.map(Into::into),
            proto: traffic
                .proto
                .map_or_else(String::new, |proto| proto.to_string()),
            visible: traffic.visible,
        }
    }
}

impl From<&NetLoss> for proto::NetLoss {
    fn from(kind: &NetLoss) -> Self {
        Self {
            share: Some(kind.share.into()),
            direction: proto::Direction::from(kind.traffic.direction).into(),
            traffic: Some((&kind.traffic).into()),
        }
    }
}

impl From<&NetPartition> for proto::NetPartition {
    fn from(kind: &NetPartition) -> Self {
        Self {
            direction: proto::Direction::from(kind.traffic.direction).into(),
            traffic: Some((&kind.traffic).into()),
        }
    }
}

impl From<NetDown> for proto::NetDown {
    fn from(kind: NetDown) -> Self {
        Self {
            direction: proto::Direction::from(kind.direction).into(),
            visible: kind.visible,
        }
    }
}

impl Reader {
    pub(super) fn net_loss(&mut self, field: &str, wire: &proto::NetLoss) -> NetLoss {
        let share = if let Some(share) = wire.share {
            self.share(&format!("{field}.share"), share)
        } else {
            self.bad(&format!("{field}.share"), "is missing");
            Share::ALL
        };
        let direction = self.direction(field, wire.direction, Direction::Both);
        let traffic = self.traffic(field, direction, wire.traffic.as_ref());
        NetLoss { share, traffic }
    }

    pub(super) fn net_partition(
        &mut self,
        field: &str,
        wire: &proto::NetPartition,
    ) -> NetPartition {
        let direction = self.direction(field, wire.direction, Direction::Both);
        let traffic = self.traffic(field, direction, wire.traffic.as_ref());
        NetPartition { traffic }
    }

    pub(super) fn net_down(&mut self, field: &str, wire: proto::NetDown) -> NetDown {
        NetDown {
            direction: self.direction(field, wire.direction, Direction::Both),
            visible: wire.visible,
        }
    }

    /// `usual` is that of a kind where none is said.
    pub(super) fn direction(&mut self, field: &str, wire: i32, usual: Direction) -> Direction {
        match proto::Direction::try_from(wire) {
            Ok(proto::Direction::Egress) => Direction::Egress,
            Ok(proto::Direction::Ingress) => Direction::Ingress,
            Ok(proto::Direction::Both) => Direction::Both,
            Ok(proto::Direction::Unspecified) => usual,
            Err(_) => {
                let field = format!("{field}.direction");
                self.bad(&field, format!("{wire} is not a direction"));
                usual
            }
        }
    }

    pub(super) fn traffic(
        &mut self,
        field: &str,
        direction: Direction,
        wire: Option<&proto::Traffic>,
    ) -> Traffic {
        let Some(wire) = wire else {
            return Traffic {
                direction,
                ..Traffic::default()
            };
        };
        let proto = match wire.proto.as_str() {
            "" => None,
            name => match name.parse() {
                Ok(proto) => Some(proto),
                Err(bad) => {
                    self.found
                        .push(Violation::of(format!("{field}.proto"), bad));
                    None
                }
            },
        };
        // Validation refuses 0.
        let port = |port: Option<u32>| port.map(|port| port.try_into().unwrap_or(0));
        Traffic {
            direction,
            peer: self.each(field, "peer", &wire.peer),
            except_peer: self.each(field, "exceptPeer", &wire.except_peer),
            peer_port: port(wire.peer_port),
            local_port: port(wire.local_port),
            proto,
            visible: wire.visible,
        }
    }
}
