//! `dns.error`

use super::Effect;
use crate::experiment::{Common, DnsError, Share};

pub(super) fn effect(kind: &DnsError, common: &Common) -> Effect {
    Effect {
        value: kind.error.rcode(),
        flags: 0,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}
