//! `dns.answer`

use chaos_common::{DnsAnswer as KernelAnswer, dns::ANSWER};

use super::{Effect, net};
use crate::experiment::{Common, DnsAnswer, FaultKind};

pub(super) fn effect(common: &Common) -> Effect {
    Effect {
        value: ANSWER,
        ..net::effect(common)
    }
}

/// What programs are told of an answer.
pub(super) fn answer(kind: &FaultKind) -> Option<KernelAnswer> {
    let FaultKind::DnsAnswer(DnsAnswer { answer, ttl, .. }) = kind else {
        return None;
    };
    let mut out = KernelAnswer {
        ttl: *ttl,
        ..KernelAnswer::default()
    };
    if let Some(v4) = answer.v4 {
        out.families |= KernelAnswer::V4;
        out.v4 = v4.octets();
    }
    if let Some(v6) = answer.v6 {
        out.families |= KernelAnswer::V6;
        out.v6 = v6.octets();
    }
    Some(out)
}
