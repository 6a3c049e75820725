//! `clock.offset`

pub(super) use super::clock::{LADDER, NOT_COVERED};
use crate::{experiment::ClockOffset, vdso::Wanted};

pub(super) fn wanted(kind: &ClockOffset) -> Wanted {
    Wanted::offset(&kind.clocks, kind.offset.nanos())
}
