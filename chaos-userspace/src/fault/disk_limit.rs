//! `disk.limit`

use crate::experiment::Mechanism;

pub(super) const LADDER: &[Mechanism] = &[Mechanism::CgroupKnob];

pub(super) const NOT_COVERED: &[&str] = &[
    "what the page cache answers, and buffered writes that are written back for another cgroup",
    "other devices, and a target that is already limited as tightly by a cgroup above it",
];
