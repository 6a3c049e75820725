//! `mem.slab`, and what it has in common with `mem.page`.

use chaos_common::AllocationFilter;

use super::{ENOMEM, Effect};
use crate::{
    engine::Calls,
    experiment::{Common, Gfp, Mechanism, MemSlab, Share, memory},
};

/// Both on the same function, and both ask the same; `fmod_ret` is the cheaper one.
pub(super) const LADDER: &[Mechanism] = &[Mechanism::FmodRet, Mechanism::KprobeOverride];

pub(super) const NOT_COVERED: &[&str] = &[
    "allocations that must not fail (__GFP_NOFAIL), or are made in an interrupt, by an exiting task or by a thread of the kernel",
    "what the target's orders make others allocate later, such as writeback",
    "objects of more than 8 KiB by kmalloc, which are pages",
];

pub(super) fn effect(common: &Common) -> Effect {
    Effect {
        value: ENOMEM,
        flags: 0,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}

/// A rule's classes of allocations.
pub(super) fn classes(gfp: &[Gfp]) -> Calls {
    let mut classes = Calls::default();
    let gfp = if gfp.is_empty() { &[Gfp::Kernel] } else { gfp };
    for class in gfp {
        classes.all.insert(class.class() as u32);
    }
    classes.named = classes.all;
    classes
}

pub(super) fn allocation(kind: &MemSlab) -> Option<AllocationFilter> {
    // Validation has bounded the name, so that no filter is dropped here.
    let cache = kind.cache.as_ref().map(String::as_bytes);
    AllocationFilter::new(memory::least(kind.min_size), cache)
}
