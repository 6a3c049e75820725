//! What all kinds about clocks have in common.

use crate::{
    experiment::{FaultKind, Mechanism},
    vdso::Wanted,
};

use super::{clock_freeze, clock_offset, clock_speed, clock_step};

pub(super) const LADDER: &[Mechanism] = &[Mechanism::Vdso];

pub(super) const NOT_COVERED: &[&str] = &[
    "who asks the kernel itself, by a system call instead of the vDSO",
    "sleeps, timeouts and timers, which go by the kernel's clocks",
    "32-bit programs, which are refused",
    "up to 10 ms of a program that starts by an exec, or comes to the target, later",
];

/// What a kind about clocks does to them.
pub(crate) fn wanted(kind: &FaultKind, times: Option<u64>) -> Option<Wanted> {
    let wanted = match kind {
        FaultKind::ClockFreeze(kind) => clock_freeze::wanted(kind),
        FaultKind::ClockOffset(kind) => clock_offset::wanted(kind),
        FaultKind::ClockSpeed(kind) => clock_speed::wanted(kind),
        FaultKind::ClockStep(kind) => clock_step::wanted(kind, times),
        _ => return None,
    };
    Some(if kind.allows_backwards() {
        wanted
    } else {
        wanted.never_backwards()
    })
}
