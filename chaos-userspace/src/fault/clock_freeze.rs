//! `clock.freeze`

pub(super) use super::clock::{LADDER, NOT_COVERED};
use crate::{experiment::ClockFreeze, vdso::Wanted};

pub(super) fn wanted(kind: &ClockFreeze) -> Wanted {
    Wanted::speed(&kind.clocks, 0)
}
