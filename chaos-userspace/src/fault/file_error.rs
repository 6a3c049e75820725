//! `file.error`

use chaos_common::flags;

use super::{Effect, call_filter::path};
use crate::experiment::{Common, FileError, Mechanism, Share};

/// Both see the same hooks. LSM comes first: it is asked after the kernel's own checks, so that what
/// would have failed anyway is not counted as an injection.
pub(super) const LADDER: &[Mechanism] = &[Mechanism::Lsm, Mechanism::FmodRet];

pub(super) const NOT_COVERED: &[&str] = &[
    "memory that a file is mapped to",
    "sendfile, splice, copy_file_range, fallocate and ioctl, which are neither reads nor writes here",
    "O_CREAT of an existing file on a network file system counts twice",
];

pub(super) fn effect(kind: &FileError, common: &Common) -> Effect {
    Effect {
        value: u32::from(kind.errno.number()),
        flags: exec(kind.include_exec),
        path: kind.path.as_ref().and_then(path),
        share: common.probability.unwrap_or(Share::ALL),
    }
}

pub(super) const fn exec(include_exec: bool) -> u32 {
    if include_exec { flags::INCLUDE_EXEC } else { 0 }
}
