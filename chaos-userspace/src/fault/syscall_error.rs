//! `syscall.error`

use crate::experiment::Mechanism;

pub(super) const LADDER: &[Mechanism] = &[
    Mechanism::FmodRetSyscall,
    Mechanism::KprobeOverride,
    Mechanism::Lsm,
    Mechanism::FmodRet,
    Mechanism::SeccompNotify,
];

pub(super) const NOT_COVERED: &[&str] = &["operations that are given to io_uring"];

/// Why a node refuses it.
pub(crate) const REFUSED: &str = "seccomp-notify works only for the command that `kchaos run` \
                                  starts, and `kchaos run` can't do it in this version";
