//! `syscall.delay`

use std::time::Duration;

use chaos_common::{flags, limits::BUSY_WAIT_NS};

use super::{
    Effect,
    syscall_error::{ONLY_COMMAND, are_asked_about},
};
use crate::experiment::{Common, Mechanism, Share, SyscallDelay, format_duration};

/// The longest delay by a program.
const BUSY_WAIT: Duration = Duration::from_nanos(BUSY_WAIT_NS);

/// A filter's caller sleeps, whatever else there is. A program on a call can't: it keeps the
/// processor busy, on the target's account.
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
        _ if kind.delay > BUSY_WAIT => Err(format!(
            "what runs already can be made to wait for {} at most, because its processor is busy \
             meanwhile",
            format_duration(BUSY_WAIT)
        )),
        Mechanism::Lsm | Mechanism::FmodRet => are_asked_about(&kind.ops),
        _ => Ok(()),
    }
}

pub(super) fn effect(kind: &SyscallDelay, common: &Common) -> Effect {
    Effect {
        // No delay is too long for it.
        value: u32::try_from(kind.delay.as_micros()).unwrap_or(u32::MAX),
        flags: flags::DELAY,
        path: None,
        share: common.probability.unwrap_or(Share::ALL),
    }
}
