//! `dns.error`

use super::{Effect, net};
use crate::experiment::{Common, DnsError};

pub(super) fn effect(kind: &DnsError, common: &Common) -> Effect {
    Effect {
        value: kind.error.rcode(),
        ..net::effect(common)
    }
}
