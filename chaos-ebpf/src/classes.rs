//! Classes of events, for rules that are about some of them.

use chaos_common::RuleConfig;

use crate::{maps::CALL_SETS, scratch::Scratch};

/// Whether a rule is about one of the event's classes, whose bits are the note in `scratch`.
#[inline(always)]
pub fn is_about(rule: &RuleConfig, scratch: Scratch) -> bool {
    CALL_SETS
        .get(rule.calls.into())
        .is_some_and(|classes| classes.has_one_of(scratch.note()))
}
