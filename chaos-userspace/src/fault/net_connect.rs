//! `net.connect`

use chaos_common::CallFilter;

use super::{Effect, socket_filter};
use crate::{
    engine::Calls,
    experiment::{Common, Mechanism, NetConnect, Share},
};

pub(super) const LADDER: &[Mechanism] = &[Mechanism::CgroupSockAddr];

pub(super) const NOT_COVERED: &[&str] = &[
    "unix sockets, raw sockets, and families other than IPv4 and IPv6",
    "connections and peers that a socket has already: what is sent on a connected socket asks nobody",
    "sockets that a process brought along when it was moved into the target",
];

pub(super) fn effect(kind: &NetConnect, common: &Common) -> Effect {
    Effect {
        value: kind.errno.number().into(),
        flags: 0,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}

pub(super) fn calls(kind: &NetConnect) -> Calls {
    let mut calls = Calls::default();
    for op in kind.operations() {
        calls.all.insert(op.operation() as u32);
    }
    calls.named = calls.all;
    calls
}

pub(super) fn filter(kind: &NetConnect) -> Option<CallFilter> {
    socket_filter::compile(&kind.filter)
}
