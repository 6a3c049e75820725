//! What must be undone, written down before it is done.
//!
//! One file for all of kchaos on a machine, and for as long as something is live. It is appended to
//! under its lock, and synced before the change that it describes. What can be read of it is healed,
//! whatever happened to the rest: see [`frame`].

mod entry;
mod frame;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub use entry::{Change, Lane, Patch, PatchedBytes};
use entry::{Entry, Kind, Restored};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use prost::Message as _;

use crate::boot;

/// The file is written anew beyond this size, with what is live only.
const COMPACT_BEYOND: u64 = 1 << 16;

/// How often the lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// The journal of a machine, by its path.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it, perhaps one that hangs.
    #[error(
        "{path} has been locked by another process for {patience:?}: is a kchaos stopped? \
             `kchaos stop --all` ends it"
    )]
    Locked {
        /// Where it is.
        path: PathBuf,
        /// How long this was waited for.
        patience: Duration,
    },
    /// The kernel refused.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// What is not undone, in the order in which it was done.
    pub live: Vec<Change>,
    /// Processes whose instructions are replaced.
    pub patches: Vec<Patch>,
    /// Devices and filters of ours in network namespaces.
    pub lanes: Vec<Lane>,
    /// Bytes that can't be read: damage between records, not a record that was never finished.
    pub damaged: usize,
}

impl Contents {
    /// Whether there is nothing to undo.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.patches.is_empty() && self.lanes.is_empty()
    }
}

/// The journal while nobody else writes it.
#[derive(Debug)]
pub struct Locked<'a> {
    journal: &'a Journal,
    file: Flock<File>,
    contents: Contents,
}

impl Journal {
    /// At this path.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now, without a lock. No file says nothing.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&self) -> Result<Contents, JournalError> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(contents(&bytes).0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
            Err(error) => Err(self.io("read")(error)),
        }
    }

    /// Takes the lock, and cuts off what was never finished.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn lock(&self, patience: Duration) -> Result<Locked<'_>, JournalError> {
        let until = Instant::now() + patience;
        let mut file = loop {
            let file = self.open()?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Whoever had it may have removed or replaced it meanwhile.
                Ok(file) if self.is_current(&file) => break file,
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) if Instant::now() < until => thread::sleep(TRY_EVERY),
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(JournalError::Locked {
                        path: self.path.clone(),
                        patience,
                    });
                }
                Err((_, errno)) => return Err(self.io("lock")(errno.into())),
            }
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(self.io("read"))?;
        let (contents, end) = contents(&bytes);
        if end < bytes.len() {
            tracing::warn!(journal = %self.path.display(), bytes = bytes.len() - end, "cut off a record that was never finished");
            file.set_len(end as u64).map_err(self.io("cut"))?;
        }
        if contents.damaged > 0 {
            tracing::warn!(journal = %self.path.display(), bytes = contents.damaged, "damaged: what these bytes said is lost");
        }
        Ok(Locked {
            journal: self,
            file,
            contents,
        })
    }

    fn open(&self) -> Result<File, JournalError> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(self.io("open"))
    }

    /// Where it is written anew.
    fn fresh(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    fn is_current(&self, file: &File) -> bool {
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (file.metadata(), fs::metadata(&self.path)) {
            (Ok(locked), Ok(there)) => inode(locked) == inode(there),
            _ => false,
        }
    }

    fn io(&self, what: &'static str) -> impl FnOnce(io::Error) -> JournalError + use<> {
        let path = self.path.clone();
        move |source| JournalError::Io { what, path, source }
    }
}

impl Locked<'_> {
    /// What is not undone.
    pub fn live(&self) -> &[Change] {
        &self.contents.live
    }

    /// Whether there is nothing to undo.
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// Bytes that could not be read.
    pub fn damaged(&self) -> usize {
        self.contents.damaged
    }

    /// Writes down a change that is about to be made. When this returns it is on the disk.
    ///
    /// # Errors
    /// When it could not be written; the change must not be made then.
    pub fn begin(&mut self, change: Change) -> Result<(), JournalError> {
        self.append(Kind::Begin(change.clone()))?;
        self.contents.live.push(change);
        Ok(())
    }

    /// Writes down that a change was undone.
    ///
    /// # Errors
    /// When it could not be written; the change will be undone again, which does no harm.
    pub fn done(&mut self, id: u64) -> Result<(), JournalError> {
        self.append(Kind::Done(id))?;
        self.contents.live.retain(|change| change.id != id);
        self.compact_if_large()
    }

    /// Writes down what is about to be replaced in a process. When this returns it is on the disk.
    ///
    /// # Errors
    /// When it could not be written; nothing must be replaced then.
    pub fn begin_patch(&mut self, patch: Patch) -> Result<(), JournalError> {
        self.append(Kind::Patch(patch.clone()))?;
        let patches = &mut self.contents.patches;
        patches.retain(|it| !it.is_of(patch.pid, patch.start));
        patches.push(patch);
        Ok(())
    }

    /// Writes down that a process has its own bytes again, or is gone.
    ///
    /// # Errors
    /// When it could not be written; they will be put back again, which does no harm.
    pub fn patch_done(&mut self, pid: u32, start: u64) -> Result<(), JournalError> {
        let patches = &mut self.contents.patches;
        if !patches.iter().any(|it| it.is_of(pid, start)) {
            return Ok(());
        }
        patches.retain(|it| !it.is_of(pid, start));
        self.append(Kind::Restored(Restored { pid, start }))?;
        self.compact_if_large()
    }

    /// Writes down what is about to be made in a network namespace. When this returns it is on the disk.
    ///
    /// # Errors
    /// When it could not be written; nothing must be made then.
    pub fn add_lane(&mut self, lane: &Lane) -> Result<(), JournalError> {
        self.append(Kind::Lane(lane.clone()))?;
        self.contents.lanes.retain(|it| !it.is(lane));
        self.contents.lanes.push(lane.clone());
        self.compact_if_large()
    }

    /// Writes down that it is gone.
    ///
    /// # Errors
    /// When it could not be written; it will be taken away again, which does no harm.
    pub fn drop_lane(&mut self, lane: &Lane) -> Result<(), JournalError> {
        if !self.contents.lanes.iter().any(|it| it.is(lane)) {
            return Ok(());
        }
        self.contents.lanes.retain(|it| !it.is(lane));
        self.append(Kind::LaneGone(lane.clone()))?;
        self.compact_if_large()
    }

    fn compact_if_large(&mut self) -> Result<(), JournalError> {
        let size = self.file.metadata().map_err(self.journal.io("look at"))?;
        if size.len() > COMPACT_BEYOND && !self.contents.is_empty() {
            self.compact()?;
        }
        Ok(())
    }

    fn append(&mut self, kind: Kind) -> Result<(), JournalError> {
        let record = frame::encode(&Entry { kind: Some(kind) }.encode_to_vec());
        let before = self
            .file
            .metadata()
            .map_err(self.journal.io("look at"))?
            .len();
        let written = self
            .file
            .write_all(&record)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // The next record must not stand behind half of this one.
            if let Err(error) = self.file.set_len(before) {
                tracing::warn!(%error, "half a record stays in the journal");
            }
            return Err(self.journal.io("write")(error));
        }
        if before == 0 {
            sync_folder(&self.journal.path).map_err(self.journal.io("sync the folder of"))?;
        }
        Ok(())
    }

    /// A new file with what is live, in the place of the old one at once.
    fn compact(&mut self) -> Result<(), JournalError> {
        let path = self.journal.fresh();
        let io = |what| self.journal.io(what);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("compact"))?;
        let changes = self.contents.live.iter().cloned().map(Kind::Begin);
        let patches = self.contents.patches.iter().cloned().map(Kind::Patch);
        let lanes = self.contents.lanes.iter().cloned().map(Kind::Lane);
        for kind in changes.chain(patches).chain(lanes).map(Some) {
            file.write_all(&frame::encode(&Entry { kind }.encode_to_vec()))
                .map_err(io("compact"))?;
        }
        file.sync_data().map_err(io("compact"))?;
        file.seek(io::SeekFrom::End(0)).map_err(io("compact"))?;
        // Locked before anybody can find it.
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io("lock")(errno.into()))?;
        fs::rename(&path, &self.journal.path).map_err(io("compact"))?;
        sync_folder(&self.journal.path).map_err(io("sync the folder of"))?;
        self.file = file;
        Ok(())
    }
}

impl Drop for Locked<'_> {
    /// A journal with nothing in it is no file at all.
    fn drop(&mut self) {
        if !self.contents.is_empty() {
            return;
        }
        // The second is there when somebody was killed while the first was written anew.
        for path in [&self.journal.path, &self.journal.fresh()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "not removed");
                }
                _ => {}
            }
        }
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// What the bytes say, and where what is kept of them ends.
fn contents(bytes: &[u8]) -> (Contents, usize) {
    let scan = frame::scan(bytes);
    let mut contents = Contents {
        damaged: scan.damaged,
        ..Contents::default()
    };
    let boot_id = boot::id();
    for payload in scan.payloads {
        match Entry::decode(payload).map(|entry| entry.kind) {
            // A machine that was booted anew has none of the cgroups that it had.
            Ok(Some(Kind::Begin(change))) if change.boot_id == boot_id => {
                contents.live.push(change);
            }
            Ok(Some(Kind::Patch(patch))) if patch.boot_id == boot_id => {
                contents
                    .patches
                    .retain(|it| !it.is_of(patch.pid, patch.start));
                contents.patches.push(patch);
            }
            Ok(Some(Kind::Restored(of))) => {
                contents.patches.retain(|it| !it.is_of(of.pid, of.start));
            }
            Ok(Some(Kind::Lane(lane))) if lane.boot_id == boot_id => {
                contents.lanes.retain(|it| !it.is(&lane));
                contents.lanes.push(lane);
            }
            Ok(Some(Kind::LaneGone(lane))) => contents.lanes.retain(|it| !it.is(&lane)),
            Ok(Some(Kind::Begin(_) | Kind::Patch(_) | Kind::Lane(_))) => {}
            Ok(Some(Kind::Done(id))) => contents.live.retain(|change| change.id != id),
            Ok(None) | Err(_) => contents.damaged += payload.len(),
        }
    }
    (contents, scan.end)
}

#[cfg(test)]
mod tests;
