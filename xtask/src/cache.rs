//! The one folder outside the project that xtask writes to.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// The cache folder: `$KCHAOS_CACHE`, else `$XDG_CACHE_HOME/kchaos`, else `~/.cache/kchaos`.
pub(crate) fn dir() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let directory = if let Some(directory) = set("KCHAOS_CACHE") {
        std::path::absolute(directory)?
    } else if let Some(base) = set("XDG_CACHE_HOME") {
        base.join("kchaos")
    } else if let Some(home) = set("HOME") {
        home.join(".cache/kchaos")
    } else {
        bail!("none of KCHAOS_CACHE, XDG_CACHE_HOME and HOME is set: where shall the cache be?");
    };
    create(&directory)?;
    Ok(directory)
}

/// A folder of the cache, created if need be.
pub(crate) fn subdir(name: &str) -> Result<PathBuf> {
    let directory = dir()?.join(name);
    create(&directory)?;
    Ok(directory)
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))
}

/// Held while something is put into the cache; the kernel lets go of it however the process ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

/// Waits for the lock of that name, and says so if it has to.
pub(crate) fn lock(name: &str) -> Result<Lock> {
    let path = subdir("locks")?.join(name);
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("xtask: waiting for another xtask that prepares {name}");
        file.lock()
            .with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(Lock(file))
}

/// A directory that becomes visible under its name only once it is complete.
#[derive(Debug)]
pub(crate) struct Staged {
    staging: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Starts one; leftovers of an interrupted attempt are removed. Call it under a [`Lock`].
    pub(crate) fn new(target: PathBuf) -> Result<Self> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let staging = target.with_file_name(name);
        remove(&staging)?;
        create(&staging)?;
        Ok(Self { staging, target })
    }

    /// Where to put the contents.
    pub(crate) fn path(&self) -> &Path {
        &self.staging
    }

    /// Gives the directory its name.
    pub(crate) fn commit(self) -> Result<()> {
        remove(&self.target)?;
        fs::rename(&self.staging, &self.target)
            .with_context(|| format!("rename to {}", self.target.display()))
    }
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file such that readers see the old or the new contents, nothing between.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let staging = path.with_file_name(name);
    fs::write(&staging, contents).with_context(|| format!("write {}", staging.display()))?;
    fs::rename(&staging, path).with_context(|| format!("rename to {}", path.display()))
}
