//! The folder in which kchaos keeps what others on this machine must be able to find: who injects
//! here, the journal, and the switch that forbids all of it.
//!
//! Whoever holds faults has a file named `ROLE-PID-START` in it for as long as it lives.

mod owner;

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub use owner::Owner;

use crate::journal::Journal;

/// Where the folder is, unless [`VARIABLE`] says otherwise.
pub const DEFAULT: &str = "/run/kchaos";

/// The variable of the environment that names another folder, for tests.
pub const VARIABLE: &str = "KCHAOS_STATE_DIR";

/// While a file of this name is in the folder nothing is armed, and what is armed ends.
pub const DISABLED: &str = "DISABLED";
/// Why a fault has ended that it ended.
pub const FORBIDDEN: &str = "faults are forbidden on this machine now";

const JOURNAL: &str = "journal";

/// How long a process may take to die that has closed its descriptors, and how often it is looked at.
const DYING: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// The folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

/// What a process of ours does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `kchaos-agent`
    Agent,
    /// `kchaos inject`
    Inject,
    /// `kchaos run`
    Run,
    /// The guard of one of these.
    Guard,
}

impl Role {
    const ALL: [Self; 4] = [Self::Agent, Self::Inject, Self::Run, Self::Guard];

    /// How its file's name starts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Inject => "inject",
            Self::Run => "run",
            Self::Guard => "guard",
        }
    }
}

/// A process that has written itself down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What it does.
    pub role: Role,
    /// Who it is.
    pub owner: Owner,
    /// Its file, which a run without privileges has not.
    pub file: PathBuf,
}

/// The file of this process; removed when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Registered(Option<PathBuf>);

impl Default for StateDir {
    /// What the environment says, else [`DEFAULT`].
    fn default() -> Self {
        let named = std::env::var_os(VARIABLE).filter(|named| !named.is_empty());
        Self(named.map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from))
    }
}

impl StateDir {
    /// At this path, which need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where an agent listens, unless it is told otherwise.
    pub fn socket(&self) -> PathBuf {
        self.0.join("kchaos.sock")
    }

    /// The journal of this machine.
    pub fn journal(&self) -> Journal {
        Journal::at(self.0.join(JOURNAL))
    }

    /// The file that forbids faults here, if it is there.
    pub fn disabled(&self) -> Option<PathBuf> {
        let file = self.0.join(DISABLED);
        // A link that leads nowhere counts: whoever made it meant it.
        fs::symlink_metadata(&file).is_ok().then_some(file)
    }

    /// Makes the folder when it is missing.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.0)
    }

    /// Writes this process down. Who may not write there holds nothing that others could be hit by,
    /// and goes without.
    ///
    /// # Errors
    /// When the folder can't be written for another reason than missing rights.
    pub fn register(&self, role: Role) -> io::Result<Registered> {
        let name = format!("{}-{}", role.name(), Owner::this());
        let file = self.0.join(name);
        let made = self.make().and_then(|()| fs::write(&file, ""));
        match made {
            Ok(()) => Ok(Registered(Some(file))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(file = %file.display(), %error, "not registered");
                Ok(Registered(None))
            }
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!(
                    "{} can't be written, where kchaos keeps what others must find: {error}",
                    self.0.display()
                ),
            )),
        }
    }

    /// Removes the file of a process that died without doing so.
    pub(crate) fn forget(&self, dead: Owner) {
        for one in self.registrations() {
            if one.owner == dead
                && let Err(error) = fs::remove_file(&one.file)
            {
                tracing::debug!(file = %one.file.display(), %error, "not removed");
            }
        }
    }

    /// Removes the file of a process that is about to die, once it has.
    pub(crate) fn bury(&self, dying: Owner) {
        let patience = Instant::now() + DYING;
        while dying.is_alive() && Instant::now() < patience {
            thread::sleep(LOOK);
        }
        if !dying.is_alive() {
            self.forget(dying);
        }
    }

    /// Everybody who has written themselves down, the dead ones included.
    pub fn registrations(&self) -> Vec<Registration> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut found: Vec<Registration> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let (role, owner) = name.to_str()?.split_once('-')?;
                Some(Registration {
                    role: Role::ALL.into_iter().find(|known| known.name() == role)?,
                    owner: owner.parse().ok()?,
                    file: entry.path(),
                })
            })
            .collect();
        found.sort_by(|a, b| a.file.cmp(&b.file));
        found
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(file) = &self.0
            && let Err(error) = fs::remove_file(file)
        {
            tracing::debug!(file = %file.display(), %error, "not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_registered_can_be_found_and_goes_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(folder.path().join("kchaos"));
        assert_eq!(state.registrations(), []);
        let registered = state.register(Role::Inject).unwrap();
        fs::write(state.path().join("agent-4194304-1"), "").unwrap();
        fs::write(state.path().join("agent-x"), "").unwrap();
        let found = state.registrations();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].role, found[0].owner.is_alive()),
            (Role::Agent, false)
        );
        assert_eq!(
            (found[1].role, found[1].owner),
            (Role::Inject, Owner::this())
        );
        assert!(found[1].owner.is_alive());
        drop(registered);
        assert_eq!(state.registrations().len(), 1);
    }

    #[test]
    fn any_file_of_the_name_disables() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(folder.path());
        assert_eq!(state.disabled(), None);
        let file = folder.path().join("DISABLED");
        std::os::unix::fs::symlink("/no/such/file", &file).unwrap();
        assert_eq!(state.disabled(), Some(file));
    }
}
