//! `syscall.error`

use super::{Effect, call_filter::path};
use crate::experiment::{Common, Mechanism, Share, SyscallError, SyscallOp};

/// On the call itself every call counts, as with strace. Security modules are asked about fewer
/// calls, and only after the kernel's own checks. A filter needs no privileges, but has to be there
/// before the target is.
pub(super) const LADDER: &[Mechanism] = &[
    Mechanism::FmodRetSyscall,
    Mechanism::KprobeOverride,
    Mechanism::Lsm,
    Mechanism::FmodRet,
    Mechanism::SeccompNotify,
];

pub(super) const NOT_COVERED: &[&str] = &[
    "x32 system calls, and those of 32-bit programs but by lsm and fmod-ret",
    "operations that are given to io_uring, which are no system calls",
];

/// What a node says of a filter.
pub(super) const ONLY_COMMAND: &str = "works only for the command that `kchaos run` starts";

/// Whether a node can do it by a mechanism on any machine.
///
/// # Errors
/// Why not.
pub(super) fn covers(kind: &SyscallError, mechanism: Mechanism) -> Result<(), String> {
    match mechanism {
        Mechanism::Lsm | Mechanism::FmodRet => are_asked_about(&kind.ops),
        Mechanism::SeccompNotify => Err(ONLY_COMMAND.to_owned()),
        _ => Ok(()),
    }
}

/// Whether the kernel asks its security modules about calls: about each that is named, and at least
/// one of each class.
pub(super) fn are_asked_about(ops: &[SyscallOp]) -> Result<(), String> {
    ops.iter().try_for_each(|op| match op {
        SyscallOp::Call(call) => call.security_hooks().map(|_hooks| ()),
        SyscallOp::Class(class) => {
            if class.calls().any(|call| call.security_hooks().is_ok()) {
                Ok(())
            } else {
                Err(format!(
                    "the kernel asks no security module about any call of {class}"
                ))
            }
        }
    })
}

pub(super) fn effect(kind: &SyscallError, common: &Common) -> Effect {
    Effect {
        value: u32::from(kind.errno.number()),
        flags: 0,
        path: kind.filter.path.as_ref().and_then(path),
        share: common.probability.unwrap_or(Share::ALL),
    }
}
