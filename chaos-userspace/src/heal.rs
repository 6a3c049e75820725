//! Finds and removes what an earlier kchaos left behind.
//!
//! Programs, maps and links never are: they belong to descriptors. What can be left is a cgroup,
//! when kchaos and its guard were both killed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{node::scratch, run::guard, target::CgroupTree};

/// Something of ours on this machine whose owner is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residue {
    /// A directory in the cgroup tree.
    pub cgroup: PathBuf,
}

/// Everything of ours whose owner is gone.
pub fn find(tree: &CgroupTree) -> Vec<Residue> {
    let mut found = Vec::new();
    search(&tree.folder("/"), 16, &mut found);
    found
}

fn search(folder: &Path, depth: usize, found: &mut Vec<Residue>) {
    if depth == 0 {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        if scratch::is_orphan(&entry.file_name().to_string_lossy()) == Some(true) {
            found.push(Residue {
                cgroup: entry.path(),
            });
        } else {
            search(&entry.path(), depth - 1, found);
        }
    }
}

/// Removes one.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(residue: &Residue) -> std::io::Result<()> {
    guard::clear(&residue.cgroup)
}

/// Removes everything that can be, quietly.
pub(crate) fn sweep(tree: &CgroupTree) {
    for residue in find(tree) {
        match remove(&residue) {
            Ok(()) => tracing::info!(cgroup = %residue.cgroup.display(), "removed a leftover"),
            Err(error) => {
                tracing::warn!(cgroup = %residue.cgroup.display(), %error, "a leftover stays");
            }
        }
    }
}
