//! `net.reset`

use chaos_common::CallFilter;

use super::{Effect, socket_filter};
use crate::experiment::{Mechanism, NetReset};

pub(super) const LADDER: &[Mechanism] = &[Mechanism::SockDestroy];

pub(super) const NOT_COVERED: &[&str] = &[
    "connections that are not made yet, that listen, or whose program has closed them",
    "connections in a network namespace in which no process of the target is",
    "sockets that a process brought along when it was moved into the target",
];

pub(super) fn effect(kind: &NetReset) -> Effect {
    Effect {
        value: 0,
        flags: 0,
        path: None,
        share: kind.share,
    }
}

pub(super) fn filter(kind: &NetReset) -> Option<CallFilter> {
    socket_filter::compile(&kind.filter)
}
