//! Takes a lane away, whoever has made it.

use std::{io, time::Duration};

use nix::net::if_::{if_nameindex, if_nametoindex};

use super::{
    LaneError, drain, failed, handle,
    tc::{Side, Tc},
};
use crate::{
    boot,
    journal::{Journal, Lane},
    target::Netns,
};

/// What became of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// It was there.
    Now,
    /// Its network namespace is gone, and it with it.
    Gone,
}

/// Takes a lane away that is written down.
///
/// # Errors
/// When it stays.
pub(crate) fn undo(
    journal: &Journal,
    entry: &Lane,
    patience: Duration,
) -> Result<Removed, LaneError> {
    let netns = (entry.boot_id == boot::id())
        .then(|| Netns::find(entry.netns))
        .flatten();
    if let Some(netns) = netns {
        return undo_in(&netns, journal, entry, patience);
    }
    journal.lock(patience)?.drop_lane(entry)?;
    Ok(Removed::Gone)
}

pub(super) fn undo_in(
    netns: &Netns,
    journal: &Journal,
    entry: &Lane,
    patience: Duration,
) -> Result<Removed, LaneError> {
    netns
        .enter(|| take_away(entry))
        .map_err(failed("enter the network namespace"))?
        .map_err(failed(format!("remove {}", entry.device)))?;
    journal.lock(patience)?.drop_lane(entry)?;
    Ok(Removed::Now)
}

/// Filters first: an action that has lost its device would drop what it gets. Then what waits gets the time to go.
fn take_away(entry: &Lane) -> io::Result<()> {
    let mut tc = Tc::open()?;
    let devices = if_nameindex()?;
    for device in &devices {
        for side in Side::BOTH {
            tc.remove_filter(device.index(), side, handle(entry))?;
        }
        if entry.hooks.contains(&device.index()) {
            tc.remove_hooks(device.index())?;
        }
    }
    if let Ok(device) = if_nametoindex(entry.device.as_str()) {
        drain(&mut tc, device)?;
        tc.remove_device(device)?;
    }
    Ok(())
}
