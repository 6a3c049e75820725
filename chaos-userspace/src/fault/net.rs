//! What all faults about packets have: where they are decided, and about which ones.

use chaos_common::{Hook, PacketFilter, PeerKey, wants};

use super::{Effect, call_filter::network};
use crate::{
    engine::{PacketSpec, PeerNetwork},
    experiment::{Common, Direction, FaultKind, Mechanism, Network, Share, Traffic},
};

pub(super) const LADDER: &[Mechanism] = &[Mechanism::Tcx, Mechanism::CgroupSkb];

pub(super) const NOT_COVERED: &[&str] = &[
    "what arrives for no socket of the target: echo requests, AF_PACKET, forwarded packets",
    "what the kernel sends by itself (answers to echo requests, resets, ARP): only by tcx, where the target \
     has its network namespace for itself",
    "sockets that a process brought along when it was moved into the target",
];

/// Whether a mechanism can do the directions of a kind as they are asked for.
///
/// # Errors
/// Why not.
pub(super) fn covers(kind: &FaultKind, mechanism: Mechanism) -> Result<(), String> {
    let Some(traffic) = kind.traffic() else {
        return Ok(());
    };
    if mechanism != Mechanism::Tcx {
        return Ok(());
    }
    if traffic.direction == Direction::Ingress {
        return Err(
            "is for what the target sends; what arrives is taken at its sockets".to_owned(),
        );
    }
    if traffic.visible {
        return Err("a sender there has sent already, and can't be told anything".to_owned());
    }
    Ok(())
}

/// What a mechanism makes of a direction that another one does better.
pub(super) fn lacks(kind: &FaultKind, mechanism: Mechanism) -> Option<&'static str> {
    let traffic = kind.traffic()?;
    let sends = traffic.direction != Direction::Ingress && !traffic.visible;
    (sends && mechanism == Mechanism::CgroupSkb).then_some(
        "that a packet was sent: by cgroup-skb TCP takes a lost segment for one that it has not sent \
         yet, and sends it again at once, without a retransmission",
    )
}

/// Where a rule is asked, if its mechanism's hook is this one.
pub(super) const fn hooks(direction: Direction, hook: Hook) -> (Hook, Option<Hook>) {
    if let Hook::NetLink = hook {
        return match direction {
            Direction::Egress => (Hook::NetLink, None),
            Direction::Ingress => (Hook::NetLinkIn, None),
            Direction::Both => (Hook::NetLink, Some(Hook::NetLinkIn)),
        };
    }
    let egress = match hook {
        Hook::NetEgress => Hook::NetEgress,
        _ => Hook::NetEgressSkb,
    };
    match direction {
        Direction::Egress => (egress, None),
        Direction::Ingress => (Hook::NetIngress, None),
        Direction::Both => (egress, Some(Hook::NetIngress)),
    }
}

/// What a kind does that loses all packets that it is about.
pub(super) fn effect(common: &Common) -> Effect {
    Effect {
        value: 0,
        flags: 0,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}

/// Networks as programs have them; `listed` is what they are to the rule.
pub(super) fn listed(networks: &[Network], listed: u32) -> Vec<PeerNetwork> {
    networks
        .iter()
        .map(|wanted| PeerNetwork {
            address: network(*wanted).address,
            prefix: wanted.prefix(),
            listed,
        })
        .collect()
}

/// What a rule wants of packets, if not all of them.
pub(super) fn packet(traffic: &Traffic) -> Option<PacketSpec> {
    let mut filter = PacketFilter::default();
    if let Some(proto) = traffic.proto {
        filter.wants |= wants::PROTO;
        filter.proto = proto.number();
    }
    if let Some(port) = traffic.peer_port {
        filter.wants |= wants::PEER_PORT;
        filter.peer_port = port.into();
    }
    if let Some(port) = traffic.local_port {
        filter.wants |= wants::LOCAL_PORT;
        filter.local_port = port.into();
    }
    let mut networks = listed(&traffic.peer, PeerKey::IN);
    networks.extend(listed(&traffic.except_peer, PeerKey::OUT));
    if !networks.is_empty() {
        filter.wants |= wants::PEER;
    }
    if traffic.peer.is_empty() {
        filter.wants |= wants::OTHERS;
    }
    traffic
        .is_narrow()
        .then_some(PacketSpec { filter, networks })
}
