//! `disk.error`

use super::Effect;
use crate::{
    engine::Calls,
    experiment::{Common, DiskError, Mechanism, Share},
};

/// Both on the same function, and both ask the same; `fmod_ret` is the cheaper one.
pub(super) const LADDER: &[Mechanism] = &[Mechanism::FmodRet, Mechanism::KprobeOverride];

pub(super) const NOT_COVERED: &[&str] = &[
    "reads that the page cache answers, and writes that stay in it",
    "what the kernel writes for everybody, such as a file system's journal, and buffered writes on file systems that write nothing back by cgroup",
    "commands that go past the queue of requests (SCSI and NVMe passthrough)",
];

pub(super) fn effect(common: &Common) -> Effect {
    Effect {
        value: libc::EIO.unsigned_abs(),
        flags: 0,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}

pub(super) fn calls(kind: &DiskError) -> Calls {
    let mut calls = Calls::default();
    for op in kind.operations() {
        calls.all.insert(op.operation() as u32);
    }
    calls.named = calls.all;
    calls
}
