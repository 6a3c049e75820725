//! `disk.readonly`

use chaos_common::FileEvent;

use super::{Effect, disk_state, file_error};
use crate::{
    engine::Calls,
    experiment::{DiskReadonly, Errno, Mechanism},
};

pub(super) const LADDER: &[Mechanism] = file_error::LADDER;

/// Whatever changes something. Writes to files that are open already as well: so it is when a file
/// system turns itself read-only because of an error.
const EVENTS: &[FileEvent] = &[
    FileEvent::OpenWrite,
    FileEvent::Create,
    FileEvent::Write,
    FileEvent::Fill,
    FileEvent::Punch,
    FileEvent::Truncate,
    FileEvent::Mkdir,
    FileEvent::Unlink,
    FileEvent::Rmdir,
    FileEvent::Rename,
    FileEvent::Link,
    FileEvent::Symlink,
    FileEvent::Mknod,
    FileEvent::Setattr,
];

const ANYWHERE: &[FileEvent] = &[
    FileEvent::Utimes,
    FileEvent::Setxattr,
    FileEvent::Removexattr,
];

pub(super) const NOT_COVERED: &[&str] = &[
    "memory that a file is mapped to, access(2) with W_OK, and what mounts are said to be",
    "times and extended attributes, unless the path is /: the kernel does not say on which mount they are set",
];

pub(super) fn effect(kind: &DiskReadonly) -> Effect {
    disk_state::effect(Errno::EROFS, &kind.path)
}

pub(super) fn calls(kind: &DiskReadonly) -> Calls {
    disk_state::calls(&kind.path, EVENTS, ANYWHERE)
}
