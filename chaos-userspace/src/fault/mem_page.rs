//! `mem.page`

use chaos_common::AllocationFilter;

use crate::experiment::{Mechanism, MemPage};

/// As `mem.slab` on another function.
pub(super) const LADDER: &[Mechanism] = &[Mechanism::FmodRet, Mechanism::KprobeOverride];

pub(super) const NOT_COVERED: &[&str] = &[
    "allocations that must not fail (__GFP_NOFAIL), or are made in an interrupt, by an exiting task or by a thread of the kernel",
    "what the target's orders make others allocate later, such as writeback",
    "objects that a slab cache has in store",
];

pub(super) fn allocation(kind: &MemPage) -> Option<AllocationFilter> {
    AllocationFilter::new(kind.min_order.unwrap_or(0).into(), None)
}
