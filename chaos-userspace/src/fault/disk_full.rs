//! `disk.full`

use chaos_common::FileEvent;

use super::{Effect, disk_state, file_error};
use crate::{
    engine::Calls,
    experiment::{DiskFull, Errno, Mechanism},
};

pub(super) const LADDER: &[Mechanism] = file_error::LADDER;

/// What takes blocks or an inode. A longer length does not, and neither does a name in the room that a
/// directory has: ext4 and tmpfs go on with truncate and rename when they are full.
const EVENTS: &[FileEvent] = &[
    FileEvent::Create,
    FileEvent::Write,
    FileEvent::Fill,
    FileEvent::Mkdir,
    FileEvent::Symlink,
    FileEvent::Link,
    FileEvent::Mknod,
];

pub(super) const NOT_COVERED: &[&str] = &[
    "memory that a file is mapped to, extended attributes, O_TMPFILE, and what statfs says of room",
    "writes of what a file has blocks for already: they fail as well, as on a file system that copies on write",
    "of bytes only those are counted that write, pwrite and their vectors ask for, and not what io_uring, io_submit, sendfile, splice, copy_file_range and fallocate take",
];

pub(super) fn effect(kind: &DiskFull) -> Effect {
    disk_state::effect(Errno::ENOSPC, &kind.path)
}

pub(super) fn calls(kind: &DiskFull) -> Calls {
    disk_state::calls(&kind.path, EVENTS, &[])
}
