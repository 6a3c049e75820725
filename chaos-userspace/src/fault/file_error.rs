//! `file.error`

use chaos_common::{PathFilter as KernelFilter, flags};

use super::Effect;
use crate::experiment::{Common, FileError, Mechanism, PathFilter, Share};

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
        flags: if kind.include_exec {
            flags::INCLUDE_EXEC
        } else {
            0
        },
        // Validation has bounded the length, so that a filter is never dropped here.
        path: kind.path.as_ref().and_then(|path| match path {
            PathFilter::File(path) => KernelFilter::new(path.as_bytes(), KernelFilter::FILE),
            PathFilter::Subtree(path) => KernelFilter::new(path.as_bytes(), KernelFilter::SUBTREE),
        }),
        share: common.probability.unwrap_or(Share::ALL),
    }
}
