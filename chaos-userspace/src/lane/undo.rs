//! Takes a lane away, whoever has made it.

use std::{io, time::Duration};

use nix::net::if_::{if_nameindex, if_nametoindex};

use super::{
    LaneError, drain, failed, filter_name,
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
/// When it stays, or it can't be told whether its namespace is gone.
pub(crate) fn undo(
    journal: &Journal,
    entry: &Lane,
    patience: Duration,
) -> Result<Removed, LaneError> {
    if entry.boot_id == boot::id()
        && let Some(netns) =
            Netns::find(entry.netns).map_err(failed("look for its network namespace"))?
    {
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
/// What can't be done of one device keeps nobody from the others.
fn take_away(entry: &Lane) -> io::Result<()> {
    let mut tc = Tc::open()?;
    let name = filter_name(entry);
    let mut result = Ok(());
    for device in &if_nameindex()? {
        let index = device.index();
        for side in Side::BOTH {
            result = result.and(tc.remove_filters(index, side, &name));
        }
        if entry.hooks.contains(&index) {
            result = result.and(tc.remove_hooks(index).map(drop));
        }
    }
    if let Ok(device) = if_nametoindex(entry.device.as_str())
        && (entry.index == 0 || entry.index == device)
    {
        drain(&mut tc, device)?;
        tc.remove_device(device)?;
    }
    result
}
