//! Cgroups of the demonstration's own.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Error, Result};

use super::SUBCOMMAND;

/// Where the lab mounts the tree.
pub(super) const MOUNT: &str = "/sys/fs/cgroup";
/// A cgroup counts as busy for a moment after its last process was waited for.
const BUSY: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);

/// A cgroup with those above it that did not exist.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: String,
    /// What was made, the outermost first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes it.
    pub(super) fn new(path: &str) -> Result<Self> {
        let directory = directory(path);
        let mut made: Vec<PathBuf> = directory
            .ancestors()
            .take_while(|ancestor| !ancestor.exists())
            .map(Path::to_path_buf)
            .collect();
        made.reverse();
        fs::create_dir_all(&directory).with_context(|| format!("make the cgroup {path}"))?;
        for parent in made.iter().filter(|made| **made != directory) {
            // pressure.cpu and disk.limit need it, and kchaos never does this itself.
            fs::write(parent.join("cgroup.subtree_control"), "+cpu +io")
                .with_context(|| format!("hand controllers on in {}", parent.display()))?;
        }
        Ok(Self {
            path: path.to_owned(),
            made,
        })
    }

    /// Its path below the mount.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// A command that is inside before it is anything else, so that all its sockets belong there.
    pub(super) fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args([SUBCOMMAND, "enter", &self.path, "--"])
            .arg(program);
        Ok(command)
    }

    /// Removes it again. All processes in it must be gone.
    pub(super) fn remove(self) -> Result<()> {
        for directory in self.made.iter().rev() {
            let mut waited = Duration::ZERO;
            while let Err(error) = fs::remove_dir(directory) {
                // The neighbour's cgroup has the same parent, and may need it a little longer.
                if error.kind() == std::io::ErrorKind::DirectoryNotEmpty || waited >= BUSY {
                    return Err(error)
                        .with_context(|| format!("remove the cgroup {}", directory.display()));
                }
                thread::sleep(TICK);
                waited += TICK;
            }
        }
        Ok(())
    }
}

fn directory(path: &str) -> PathBuf {
    Path::new(MOUNT).join(path.trim_start_matches('/'))
}

/// Moves this process into a cgroup and executes a program. Only returns when that failed.
pub(super) fn enter(path: &str, command: &[std::ffi::OsString]) -> Error {
    if let Err(error) = fs::write(directory(path).join("cgroup.procs"), "0") {
        return Error::new(error).context(format!("enter the cgroup {path}"));
    }
    let [program, arguments @ ..] = command else {
        return Error::msg("no command");
    };
    let error = Command::new(program).args(arguments).exec();
    Error::new(error).context(format!("execute {}", program.display()))
}
