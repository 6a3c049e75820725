//! Where things lie in the project.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Binaries of the project that commands in the lab find first on PATH.
pub(crate) const BINARIES: [&str; 3] = ["kchaos", "kchaos-agent", "kchaos-scheduler"];

/// The workspace's root directory.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The workspace's target directory. Cargo takes a relative `CARGO_TARGET_DIR` from the current
/// directory, so this does too.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) if !directory.is_empty() => {
            let directory = PathBuf::from(directory);
            std::path::absolute(&directory).unwrap_or(directory)
        }
        _ => root().join("target"),
    }
}

/// The cargo that runs xtask.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Looks a program up on PATH, and where Debian keeps what only root usually calls.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}
