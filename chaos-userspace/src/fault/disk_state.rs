//! What `disk.full`, `disk.readonly` and `disk.quota` have in common: a disk is in a state, and whoever
//! wants of it what such a disk does not do gets one errno.

use chaos_common::{FileEvent, flags};

use super::{Effect, call_filter};
use crate::{
    engine::Calls,
    experiment::{Errno, PathFilter, Share},
};

pub(super) fn effect(errno: Errno, path: &PathFilter) -> Effect {
    Effect {
        value: u32::from(errno.number()),
        flags: flags::DISK,
        path: (!is_everything(path))
            .then(|| call_filter::path(path))
            .flatten(),
        share: Share::ALL,
    }
}

/// What the programs are asked about. `anywhere` is of events of which the kernel does not say on
/// which mount they happen, so that they can be told to be on no disk but on all of them.
pub(super) fn calls(path: &PathFilter, events: &[FileEvent], anywhere: &[FileEvent]) -> Calls {
    let mut calls = Calls::default();
    for event in events {
        calls.all.insert(*event as u32);
    }
    if is_everything(path) {
        for event in anywhere {
            calls.all.insert(*event as u32);
        }
    }
    calls.named = calls.all;
    calls
}

fn is_everything(path: &PathFilter) -> bool {
    path.as_str() == "/"
}
