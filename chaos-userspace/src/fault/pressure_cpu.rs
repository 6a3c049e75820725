//! `pressure.cpu`

use crate::experiment::Mechanism;

pub(super) const LADDER: &[Mechanism] = &[Mechanism::CgroupKnob];

pub(super) const NOT_COVERED: &[&str] = &[
    "real-time and deadline tasks, which the limit does not concern",
    "a target that is already limited as tightly by a cgroup above it",
];
