//! Control files of cgroups that a fault changes, and that somebody must change back.
//!
//! The journal is the one truth about them, for every kchaos of a machine: who changes a file writes
//! that down first, and whoever undoes a change, its owner, the owner's guard or `kchaos heal`, does
//! it in [`undo`], under the journal's lock. Several changes of one file compose: the tightest of
//! what they want and what was there before is in force.

mod held;
mod limit;

use std::{fs, io, path::PathBuf, time::Duration};

pub use held::{KnobStatus, Knobs};
pub use limit::{Limit, NoLimit};

use crate::{
    journal::{Change, Journal, JournalError, Locked},
    target::{Cgroup, CgroupTree, TargetError},
};

/// The control file of `pressure.cpu`.
pub(crate) const CPU_MAX: &str = "cpu.max";

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

/// Whether a cgroup has the control file, with the reason if it has not, and a limit that this one
/// would tighten.
pub(crate) fn check(tree: &CgroupTree, cgroup: &Cgroup) -> Result<Limit, KnobError> {
    let file = tree.folder(cgroup.path()).join(CPU_MAX);
    match read(&file) {
        Err(KnobError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(KnobError::Unsupported(no_controller(tree, cgroup)))
        }
        other => other,
    }
}

fn no_controller(tree: &CgroupTree, cgroup: &Cgroup) -> String {
    let mounted = fs::read_to_string(tree.folder("/").join("cgroup.controllers"));
    if !mounted.is_ok_and(|names| names.split_whitespace().any(|name| name == "cpu")) {
        return "the cpu controller is not in the cgroup v2 tree of this machine: it is in use by \
                cgroup v1, or the kernel has none"
            .to_owned();
    }
    let (parent, _) = cgroup.path().rsplit_once('/').unwrap_or(("", ""));
    let switch = tree.folder(parent).join("cgroup.subtree_control");
    format!(
        "cgroup {} has no {CPU_MAX}, because its parent does not hand the cpu controller on: \
         `echo +cpu >{}` does that, for all cgroups below it, where no process is in the parent \
         itself (kchaos never changes that)",
        cgroup.path(),
        switch.display()
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
    let file = tree.folder(&change.cgroup).join(&change.file);
    let mut journal = journal.lock(PATIENCE)?;
    let current = read(&file)?;
    let others = same_place(&journal, &change);
    change.original = match others.first() {
        None => current.to_string(),
        Some(first) if is_ours(current, &others) => first.original.clone(),
        Some(_) => {
            return Err(KnobError::Unsupported(format!(
                "somebody else has changed {} to '{current}' while a fault was live there: end \
                 that fault first",
                file.display()
            )));
        }
    };
    let wanted = parse(&change.wanted)?;
    let original = parse(&change.original)?;
    if original <= wanted {
        return Err(KnobError::Unsupported(format!(
            "{} holds '{original}' already, which is as tight as '{wanted}': say a smaller quota",
            file.display()
        )));
    }
    let id = change.id;
    let in_force = others.iter().fold(wanted, |least, other| {
        parse(&other.wanted).map_or(least, |other| least.min(other))
    });
    journal.begin(change)?;
    write(&file, in_force).inspect_err(|_refused| {
        if let Err(error) = journal.done(id) {
            tracing::warn!(%error, "a change that was not made stays in the journal");
        }
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
    let cgroup = match tree.open(&change.cgroup) {
        Ok(cgroup) if cgroup.id() == change.cgroup_id => cgroup,
        // Another one of the same name was never touched.
        Ok(_) | Err(TargetError::Missing(_)) => return Ok(Undone::Gone),
        Err(error) => return Err(error.into()),
    };
    let file = tree.folder(cgroup.path()).join(&change.file);
    let current = match read(&file) {
        Ok(current) => current,
        // The controller was taken away from the cgroup, and the limit with it.
        Err(KnobError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Undone::Gone);
        }
        Err(error) => return Err(error),
    };
    let all = same_place(journal, change);
    if !is_ours(current, &all) {
        return Ok(Undone::Foreign(current.to_string()));
    }
    let original = parse(&change.original)?;
    let in_force = all
        .iter()
        .filter(|other| other.id != change.id)
        .filter_map(|other| parse(&other.wanted).ok())
        .fold(original, Limit::min);
    write(&file, in_force)?;
    Ok(Undone::Restored(in_force.to_string()))
}

fn same_place(journal: &Locked<'_>, change: &Change) -> Vec<Change> {
    journal
        .live()
        .iter()
        .filter(|other| other.same_place(change))
        .cloned()
        .collect()
}

/// Whether one of these changes may have left the file like this. What was there before counts: the
/// change may have been written down and not made.
fn is_ours(current: Limit, changes: &[Change]) -> bool {
    changes
        .iter()
        .flat_map(|change| [&change.original, &change.wanted])
        .any(|known| parse(known).is_ok_and(|known| known == current))
}

fn parse(text: &str) -> Result<Limit, KnobError> {
    text.parse()
        .map_err(|error: NoLimit| KnobError::Unsupported(error.to_string()))
}

fn read(file: &std::path::Path) -> Result<Limit, KnobError> {
    let io = |source| KnobError::Io {
        what: "read",
        path: file.to_owned(),
        source,
    };
    parse(&fs::read_to_string(file).map_err(io)?)
}

fn write(file: &std::path::Path, limit: Limit) -> Result<(), KnobError> {
    // Not created where there is none: then it would be no control file.
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(file)
        .and_then(|mut open| io::Write::write_all(&mut open, limit.to_string().as_bytes()))
        .map_err(|source| KnobError::Io {
            what: "write",
            path: file.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
