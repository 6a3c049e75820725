//! `disk.quota`

use chaos_common::FileEvent;

use super::{Effect, disk_full, disk_state};
use crate::{
    engine::Calls,
    experiment::{DiskQuota, Errno, Mechanism},
};

pub(super) const LADDER: &[Mechanism] = disk_full::LADDER;

/// What takes blocks or an inode. A further name of a file does not.
const EVENTS: &[FileEvent] = &[
    FileEvent::Create,
    FileEvent::Write,
    FileEvent::Fill,
    FileEvent::Mkdir,
    FileEvent::Symlink,
    FileEvent::Mknod,
];

pub(super) const NOT_COVERED: &[&str] = disk_full::NOT_COVERED;

pub(super) fn effect(kind: &DiskQuota) -> Effect {
    disk_state::effect(Errno::EDQUOT, &kind.path)
}

pub(super) fn calls(kind: &DiskQuota) -> Calls {
    disk_state::calls(&kind.path, EVENTS, &[])
}
