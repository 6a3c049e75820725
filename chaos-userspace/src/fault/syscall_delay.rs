//! `syscall.delay`

use chaos_common::flags;

use super::{Effect, syscall_error::ONLY_COMMAND};
use crate::experiment::{Common, Mechanism, Share, SyscallDelay};

/// Programs on system calls can't sleep. A filter's caller does.
pub(super) const LADDER: &[Mechanism] = &[Mechanism::SeccompNotify];

/// Whether a node can do it on any machine.
///
/// # Errors
/// Why not.
pub(super) fn covers() -> Result<(), String> {
    Err(format!(
        "{ONLY_COMMAND}: what runs already can be made to fail (syscall.error), but not to wait"
    ))
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
