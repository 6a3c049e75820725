//! `net.loss`

use super::Effect;
use crate::experiment::NetLoss;

pub(super) fn effect(kind: &NetLoss) -> Effect {
    Effect {
        value: 0,
        flags: 0,
        path: None,
        share: kind.share,
    }
}
