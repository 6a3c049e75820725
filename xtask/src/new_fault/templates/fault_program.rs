//! `@name@`

use super::Effect;
use crate::experiment::{@Type@, Mechanism};

// @mark@: more mechanisms, the best first; the same list stands in experiment/keys.rs.
pub(super) const LADDER: &[Mechanism] = &[Mechanism::@Mechanism@];

// @mark@: what no mechanism sees of it, in words for people.
pub(super) const NOT_COVERED: &[&str] = &[];

pub(super) fn effect(kind: &@Type@) -> Effect {
    // @mark@: what the program is told besides; `share` is the part of the events that is hit.
    Effect {
        value: 0,
        flags: 0,
        path: None,
        share: kind.share,
    }
}
