//! `syscall.delay`

use chaos_common::flags;

use super::{
    Effect,
    call_filter::path,
    syscall_error::{ONLY_COMMAND, are_asked_about},
};
use crate::experiment::{Common, Mechanism, Share, SyscallDelay};

/// A filter's caller sleeps, however short the delay is. A program keeps the processor busy, on the
/// target's account, unless it is long enough for its caller to be stopped.
pub(super) const LADDER: &[Mechanism] = &[
    Mechanism::SeccompNotify,
    Mechanism::FmodRetSyscall,
    Mechanism::KprobeOverride,
    Mechanism::Lsm,
    Mechanism::FmodRet,
];

/// Whether a node can do it by a mechanism on any machine.
///
/// # Errors
/// Why not.
pub(super) fn covers(kind: &SyscallDelay, mechanism: Mechanism) -> Result<(), String> {
    match mechanism {
        Mechanism::SeccompNotify => Err(ONLY_COMMAND.to_owned()),
        Mechanism::Lsm | Mechanism::FmodRet => are_asked_about(&kind.ops),
        _ => Ok(()),
    }
}

pub(super) fn effect(kind: &SyscallDelay, common: &Common) -> Effect {
    Effect {
        // No delay is too long for it.
        value: u32::try_from(kind.delay.as_micros()).unwrap_or(u32::MAX),
        flags: flags::DELAY,
        path: kind.filter.path.as_ref().and_then(path),
        share: common.probability.unwrap_or(Share::ALL),
    }
}
