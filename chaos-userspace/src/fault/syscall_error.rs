//! `syscall.error`

use super::Effect;
use crate::experiment::{Common, Mechanism, Share, SyscallError};

pub(super) const LADDER: &[Mechanism] = &[
    Mechanism::FmodRetSyscall,
    Mechanism::KprobeOverride,
    Mechanism::Lsm,
    Mechanism::FmodRet,
    Mechanism::SeccompNotify,
];

pub(super) const NOT_COVERED: &[&str] = &["operations that are given to io_uring"];

/// Why a node refuses it.
pub(crate) const REFUSED: &str =
    "seccomp-notify works only for the command that `kchaos run` starts";

pub(super) fn effect(kind: &SyscallError, common: &Common) -> Effect {
    Effect {
        value: u32::from(kind.errno.number()),
        flags: 0,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}
