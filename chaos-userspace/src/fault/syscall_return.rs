//! `syscall.return`

use chaos_common::flags;

use super::{Effect, call_filter::path, syscall_error::ONLY_COMMAND};
use crate::experiment::{Common, Mechanism, Share, SyscallReturn};

/// As for `syscall.error`, but without what security modules are asked: what they say can make a
/// call fail, and nothing else.
pub(super) const LADDER: &[Mechanism] = &[
    Mechanism::FmodRetSyscall,
    Mechanism::KprobeOverride,
    Mechanism::SeccompNotify,
];

/// Whether a node can do it by a mechanism on any machine.
///
/// # Errors
/// Why not.
pub(super) fn covers(kind: &SyscallReturn, mechanism: Mechanism) -> Result<(), String> {
    match mechanism {
        Mechanism::FmodRetSyscall if kind.value == 0 => Err(
            "can't return 0 in a call's place: to the kernel that means that the call is to be done"
                .to_owned(),
        ),
        Mechanism::SeccompNotify => Err(ONLY_COMMAND.to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn effect(kind: &SyscallReturn, common: &Common) -> Effect {
    Effect {
        value: kind.value,
        flags: flags::RETURN,
        path: kind.filter.path.as_ref().and_then(path),
        share: common.probability.unwrap_or(Share::ALL),
    }
}
