//! Control files of cgroups that a fault changes, and that somebody must change back.
//!
//! The journal is the one truth about them, for every kchaos of a machine: who changes a file writes
//! that down first, and whoever undoes a change, its owner, the owner's guard or `kchaos heal`, does
//! it in [`undo`], under the journal's lock. Several changes of one file compose: the tightest of
//! what they want and what was there before is in force.

mod cpu_max;
mod device;
mod held;
mod io_max;
mod limit;
mod meter;

use std::{fs, io, path::PathBuf, time::Duration};

pub use cpu_max::CpuMax;
pub(crate) use device::all as disks;
pub use held::{KnobStatus, Knobs};
pub use io_max::IoMax;
pub use limit::{Limit, NoLimit};

use crate::{
    journal::{Change, Journal, JournalError, Locked},
    target::{Cgroup, CgroupTree, TargetError},
};

/// The control file of `pressure.cpu`.
pub(crate) const CPU_MAX: &str = "cpu.max";
/// The control file of `disk.limit`: a line for each device.
pub(crate) const IO_MAX: &str = "io.max";

/// How long the journal's lock is waited for; whoever has it does a few small writes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why a control file was not changed, or not changed back.
#[derive(Debug, thiserror::Error)]
pub enum KnobError {
    /// This target can't be had, with the reason and what would help.
    #[error("{0}")]
    Unsupported(String),
    /// What must be undone could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no tree of cgroups any more.
    #[error(transparent)]
    Tree(#[from] TargetError),
    /// The guard could not be started, and without it nothing is changed.
    #[error("the guard could not be started: {0}")]
    Guard(io::Error),
    /// The kernel refused.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The control file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How a change was undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The file holds this again.
    Restored(String),
    /// Somebody else has undone it before.
    Already,
    /// The cgroup is gone, and its files with it.
    Gone,
    /// Somebody else has written this since; it was left as it is.
    Foreign(String),
}

/// What a fault wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In the control file.
    pub limit: Limit,
    /// A path on the device whose line it is, if the file has lines of devices.
    pub device: Option<String>,
}

impl Wanted {
    /// The device as the file names it; empty if the file has none.
    fn device(&self) -> Result<String, KnobError> {
        self.device.as_deref().map_or(Ok(String::new()), |path| {
            device::find(path).map_err(|reason| KnobError::Unsupported(format!("device: {reason}")))
        })
    }
}

/// The controller that a control file belongs to: what stands before the dot.
pub(crate) fn controller(file: &str) -> &str {
    file.split_once('.').map_or(file, |(name, _)| name)
}

/// Whether a cgroup has the control file, with the reason if it has not.
pub(crate) fn check(tree: &CgroupTree, cgroup: &Cgroup, file: &str) -> Result<(), KnobError> {
    let path = tree.folder(cgroup.path()).join(file);
    match fs::read_to_string(&path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(KnobError::Unsupported(no_controller(tree, cgroup, file)))
        }
        Err(source) => Err(KnobError::Io {
            what: "read",
            path,
            source,
        }),
    }
}

fn no_controller(tree: &CgroupTree, cgroup: &Cgroup, file: &str) -> String {
    match tree.lacks(cgroup.path(), controller(file)) {
        Some(reason) => format!("cgroup {} has no {file}: {reason}", cgroup.path()),
        None => no_file(file),
    }
}

/// Why a cgroup with the controller has not its file.
pub(crate) fn no_file(file: &str) -> String {
    let option = if file == IO_MAX {
        ": it needs CONFIG_BLK_DEV_THROTTLING"
    } else {
        ""
    };
    format!(
        "this kernel's {} controller has no {file}{option}",
        controller(file)
    )
}

/// Makes a change, after it was written down.
///
/// `change` says everything but what was there before, which is found out here.
///
/// # Errors
/// See [`KnobError`]; nothing is changed then.
pub(crate) fn begin(
    journal: &Journal,
    tree: &CgroupTree,
    mut change: Change,
) -> Result<(), KnobError> {
    let file = Place::of(tree, &change);
    let mut journal = journal.lock(PATIENCE)?;
    let current = file.read()?;
    let others = same_place(&journal, &change);
    change.original = match others.first() {
        None => current.to_string(),
        Some(first) if current.is_known(&known(&others)) => first.original.clone(),
        Some(_) => {
            return Err(KnobError::Unsupported(format!(
                "somebody else has changed {} to '{current}' while a fault was live there: end \
                 that fault first",
                file.path.display()
            )));
        }
    };
    let wanted = file.parse(&change.wanted)?;
    let original = file.parse(&change.original)?;
    if original.tightest(wanted) == original {
        return Err(KnobError::Unsupported(format!(
            "{} holds '{original}' already, which is as tight as '{wanted}': say a smaller {}",
            file.path.display(),
            if file.device.is_empty() {
                "quota"
            } else {
                "limit"
            }
        )));
    }
    let id = change.id;
    let in_force = in_force(original.tightest(wanted), &file, &others);
    journal.begin(change)?;
    let made = file.write(current, in_force);
    if made.is_err()
        && let Err(error) = journal.done(id)
    {
        tracing::warn!(%error, "a change that was not made stays in the journal");
    }
    made.map_err(|error| match error {
        KnobError::Io { source, .. } if !file.device.is_empty() && is_no_device(&source) => {
            KnobError::Unsupported(format!(
                "the kernel takes no limit for device {}: {source}: name another block device, \
                 such as the disk below it",
                file.device
            ))
        }
        other => other,
    })
}

/// Undoes a change, whoever made it. Doing it twice is as good as once.
///
/// # Errors
/// See [`KnobError`]; the change stays in the journal then.
pub(crate) fn undo(
    journal: &Journal,
    tree: &CgroupTree,
    id: u64,
    patience: Duration,
) -> Result<Undone, KnobError> {
    // Most often there is no journal any more when somebody was faster.
    if !journal.read()?.live.iter().any(|change| change.id == id) {
        return Ok(Undone::Already);
    }
    let mut journal = journal.lock(patience)?;
    let Some(change) = journal
        .live()
        .iter()
        .find(|change| change.id == id)
        .cloned()
    else {
        return Ok(Undone::Already);
    };
    let undone = restore(&journal, tree, &change)?;
    journal.done(id)?;
    Ok(undone)
}

fn restore(journal: &Locked<'_>, tree: &CgroupTree, change: &Change) -> Result<Undone, KnobError> {
    match tree.open(&change.cgroup) {
        Ok(cgroup) if cgroup.id() == change.cgroup_id => {}
        // Another one of the same name was never touched.
        Ok(_) | Err(TargetError::Missing(_)) => return Ok(Undone::Gone),
        Err(error) => return Err(error.into()),
    }
    let file = Place::of(tree, change);
    let current = match file.read() {
        Ok(current) => current,
        // The controller was taken away from the cgroup, and the limit with it.
        Err(KnobError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Undone::Gone);
        }
        Err(error) => return Err(error),
    };
    let all = same_place(journal, change);
    let others: Vec<Change> = all
        .iter()
        .filter(|other| other.id != change.id)
        .cloned()
        .collect();
    let in_force = in_force(file.parse(&change.original)?, &file, &others);
    let known = known(&all);
    let next = current.replace(&known, in_force);
    match file.write(current, next) {
        // The device was taken away, and the limit with it.
        Err(KnobError::Io { source, .. }) if !file.device.is_empty() && is_no_device(&source) => {
            return Ok(Undone::Gone);
        }
        other => other?,
    }
    Ok(if current.is_known(&known) {
        Undone::Restored(next.to_string())
    } else {
        Undone::Foreign(next.to_string())
    })
}

/// What the kernel says of a device that is gone, or that it takes no limit for.
fn is_no_device(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENODEV | libc::ENXIO | libc::EOPNOTSUPP)
    )
}

fn same_place(journal: &Locked<'_>, change: &Change) -> Vec<Change> {
    journal
        .live()
        .iter()
        .filter(|other| other.same_place(change))
        .cloned()
        .collect()
}

/// The tightest of `least` and what these changes want.
fn in_force(least: Limit, file: &Place, changes: &[Change]) -> Limit {
    changes
        .iter()
        .filter_map(|change| file.parse(&change.wanted).ok())
        .fold(least, Limit::tightest)
}

/// What these changes may have left the file with. What was there before counts: the change may have
/// been written down and not made.
fn known(changes: &[Change]) -> Vec<Limit> {
    changes
        .iter()
        .flat_map(|change| {
            [&change.original, &change.wanted].map(|text| Limit::parse(&change.file, text).ok())
        })
        .flatten()
        .collect()
}

/// A control file, or the line of a device in it.
struct Place {
    path: PathBuf,
    name: String,
    device: String,
}

impl Place {
    fn of(tree: &CgroupTree, change: &Change) -> Self {
        Self {
            path: tree.folder(&change.cgroup).join(&change.file),
            name: change.file.clone(),
            device: change.device.clone(),
        }
    }

    fn parse(&self, text: &str) -> Result<Limit, KnobError> {
        Limit::parse(&self.name, text).map_err(unsupported)
    }

    fn read(&self) -> Result<Limit, KnobError> {
        let text = fs::read_to_string(&self.path).map_err(|source| self.io("read", source))?;
        if self.device.is_empty() {
            return self.parse(&text);
        }
        IoMax::of_device(&text, &self.device)
            .map(Limit::Io)
            .map_err(unsupported)
    }

    fn write(&self, current: Limit, next: Limit) -> Result<(), KnobError> {
        let text = match (current, next) {
            (Limit::Io(current), Limit::Io(next)) => next.step(&self.device, current),
            _ if current.to_string() == next.to_string() => None,
            _ => Some(next.to_string()),
        };
        let Some(text) = text else { return Ok(()) };
        // Not created where there is none: then it would be no control file.
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&self.path)
            .and_then(|mut open| io::Write::write_all(&mut open, text.as_bytes()))
            .map_err(|source| self.io("write", source))
    }

    fn io(&self, what: &'static str, source: io::Error) -> KnobError {
        KnobError::Io {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn unsupported(error: NoLimit) -> KnobError {
    KnobError::Unsupported(error.to_string())
}

#[cfg(test)]
mod tests;
