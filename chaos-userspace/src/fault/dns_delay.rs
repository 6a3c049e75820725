//! `dns.delay`: a link for the answers alone.

use chaos_common::{LinkConfig, link::distribution};

use super::nanoseconds;
use crate::experiment::FaultKind;

/// What programs are told of it.
pub(super) fn link(kind: &FaultKind) -> Option<LinkConfig> {
    let FaultKind::DnsDelay(kind) = kind else {
        return None;
    };
    Some(LinkConfig {
        delay_ns: nanoseconds(kind.delay),
        jitter_ns: kind.jitter.map_or(0, nanoseconds),
        distribution: distribution::UNIFORM,
        ..LinkConfig::default()
    })
}
