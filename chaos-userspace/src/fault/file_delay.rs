//! `file.delay`

use chaos_common::flags;

use super::{Effect, call_filter, file_error};
use crate::experiment::{Common, FileDelay, Share};

pub(super) fn effect(kind: &FileDelay, common: &Common) -> Effect {
    Effect {
        // No delay is too long for it.
        value: u32::try_from(kind.delay.as_micros()).unwrap_or(u32::MAX),
        flags: flags::DELAY | file_error::exec(kind.include_exec),
        path: kind.path.as_ref().and_then(call_filter::path),
        share: common.probability.unwrap_or(Share::ALL),
    }
}
