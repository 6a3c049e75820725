//! `net.loss`

use super::Effect;
use crate::experiment::{Mechanism, NetLoss};

pub(super) const LADDER: &[Mechanism] = &[Mechanism::CgroupSkb];

pub(super) const NOT_COVERED: &[&str] = &[
    "packets that reach no socket of the target: echo requests, resets and other answers of the \
     kernel, AF_PACKET, forwarded packets",
    "sockets that a process brought along when it was moved into the target",
];

pub(super) fn effect(kind: &NetLoss) -> Effect {
    Effect {
        value: 0,
        flags: 0,
        path: None,
        share: kind.share,
    }
}
