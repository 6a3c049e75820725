//! `clock.speed`

pub(super) use super::clock::{LADDER, NOT_COVERED};
use crate::{experiment::ClockSpeed, vdso::Wanted};

pub(super) fn wanted(kind: &ClockSpeed) -> Wanted {
    Wanted::speed(&kind.clocks, kind.speed.billionths())
}
