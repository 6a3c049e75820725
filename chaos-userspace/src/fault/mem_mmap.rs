//! `mem.mmap`

use chaos_common::AllocationFilter;

use super::{ENOMEM, Effect};
use crate::{
    engine::Calls,
    experiment::{Common, MapOp, Mechanism, MemMmap, Share, memory},
};

/// BPF LSM programs may not hang on `vm_enough_memory`, which can only grant.
pub(super) const LADDER: &[Mechanism] = &[Mechanism::FmodRet];

pub(super) const NOT_COVERED: &[&str] = &[
    "mappings that no memory is set aside for: read-only, PROT_NONE, MAP_NORESERVE, shared ones of files",
    "mprotect, fork, growing stacks, and what memory costs when it is touched",
];

pub(super) fn effect(common: &Common) -> Effect {
    Effect {
        value: ENOMEM,
        flags: 0,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}

pub(super) fn calls(kind: &MemMmap) -> Calls {
    let mut calls = Calls::default();
    let ops = if kind.ops.is_empty() {
        &MapOp::ALL[..]
    } else {
        &kind.ops
    };
    for op in ops {
        calls.all.insert(op.number());
    }
    calls.named = calls.all;
    calls
}

pub(super) fn allocation(kind: &MemMmap) -> Option<AllocationFilter> {
    AllocationFilter::new(memory::least(kind.min_size), None)
}
