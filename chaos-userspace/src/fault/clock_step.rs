//! `clock.step`

pub(super) use super::clock::{LADDER, NOT_COVERED};
use super::nanoseconds;
use crate::{experiment::ClockStep, vdso::Wanted};

pub(super) fn wanted(kind: &ClockStep, times: Option<u64>) -> Wanted {
    let every = i64::try_from(nanoseconds(kind.every)).unwrap_or(i64::MAX);
    Wanted::step(
        &kind.clocks,
        kind.offset.nanos(),
        every,
        times.unwrap_or(u64::MAX),
    )
}
