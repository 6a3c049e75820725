//! Puts back what a dead kchaos, and its dead tender, have left in processes.

use std::{fs, time::Duration};

use super::{
    patch::{Before, PatchError},
    stub::Header,
};
use crate::{
    journal::{Journal, JournalError, Patch},
    state::Owner,
    target::start_ticks,
};

/// How a process was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restored {
    /// It has its own bytes again.
    Now,
    /// It had them already: it has made an exec, or somebody was faster.
    Already,
    /// It has ended.
    Gone,
}

/// Why a process is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    /// It can't be stopped or written to, with the reason.
    #[error("process {0}: {1}")]
    Process(u32, String),
    /// That it was undone could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Gives a process its own bytes again, whoever replaced them. Doing it twice is as good as once.
///
/// # Errors
/// See [`UndoError`]; it stays in the journal then.
pub(crate) fn undo(
    journal: &Journal,
    patch: &Patch,
    patience: Duration,
) -> Result<Restored, UndoError> {
    let restored = if start_ticks(patch.pid) == Some(patch.start) {
        restore_fully(patch.pid).map_err(|why| UndoError::Process(patch.pid, why))?
    } else {
        Restored::Gone
    };
    journal.lock(patience)?.patch_done(patch.pid, patch.start)?;
    Ok(restored)
}

/// Gives the children their bytes that nobody has written down: those that were born while their
/// kchaos died.
pub(crate) fn undo_orphans(of: Owner) {
    let of_it = |header: &Header| (header.owner_pid, header.owner_start) == (of.pid, of.start);
    for pid in everybody() {
        if let Err(why) = restore(pid, of_it) {
            tracing::debug!(pid, why, "not looked at");
        }
    }
}

/// The same, with what is left of a call that it was about to make: only of one that is known to be
/// nobody else's, who may be at it.
fn restore_fully(pid: u32) -> Result<Restored, String> {
    match restore(pid, |_| true)? {
        Restored::Already => {}
        done => return Ok(done),
    }
    match Before::look(pid).and_then(|before| before.clear()) {
        Ok(true) => Ok(Restored::Now),
        Ok(false) => Ok(Restored::Already),
        Err(PatchError::Gone) => Ok(Restored::Gone),
        Err(error) => Err(error.to_string()),
    }
}

/// All processes.
pub(super) fn everybody() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Gives a process its own bytes again, if whoever replaced them is meant.
pub(super) fn restore(pid: u32, is_meant: impl Fn(&Header) -> bool) -> Result<Restored, String> {
    let before = match Before::look(pid) {
        Ok(before) => before,
        Err(PatchError::Gone) => return Ok(Restored::Gone),
        Err(error) => return Err(error.to_string()),
    };
    let Ok((patched, header)) = before.adopt() else {
        return Ok(Restored::Already);
    };
    if !is_meant(&header) {
        return Ok(Restored::Already);
    }
    match patched.restore(pid) {
        Ok(()) => Ok(Restored::Now),
        Err(PatchError::Gone) => Ok(Restored::Gone),
        Err(error) => Err(error.to_string()),
    }
}
