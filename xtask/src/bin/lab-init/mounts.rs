//! The guest's file systems, from the initramfs to the command's view.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::mount::MsFlags;

use crate::{
    mount,
    request::{ROOT_TAG, Request},
};

const NONE: MsFlags = MsFlags::empty();
/// Where the root file system is put together.
const NEW_ROOT: &str = "/newroot";
/// Directories that every boot gets fresh.
const FRESH: [&str; 2] = ["/run", "/tmp"];

/// What init itself needs.
pub(crate) fn initramfs() -> Result<()> {
    for directory in ["/dev", "/proc", "/sys", "/lower", "/rw", NEW_ROOT] {
        fs::create_dir_all(directory).with_context(|| format!("create {directory}"))?;
    }
    mount("dev", "/dev", "devtmpfs", NONE, None)?;
    mount("proc", "/proc", "proc", NONE, None)?;
    mount("sys", "/sys", "sysfs", NONE, None)
}

/// The machine's files, read-only over 9p, below a tmpfs that takes all writes.
pub(crate) fn root(request: &Request) -> Result<()> {
    // The host promises that nothing changes under the guest, so everything may be cached: with
    // cache=none each exec of a big binary crosses to the host page by page.
    let options = format!(
        "trans=virtio,version=9p2000.L,cache=loose,msize={},access=any",
        request.msize
    );
    mount(ROOT_TAG, "/lower", "9p", MsFlags::MS_RDONLY, Some(&options))?;
    mount("rw", "/rw", "tmpfs", NONE, Some("mode=0755"))?;
    fs::create_dir_all("/rw/upper")?;
    fs::create_dir_all("/rw/work")?;
    mount(
        "lab",
        NEW_ROOT,
        "overlay",
        NONE,
        Some("lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work"),
    )
}

/// Makes the new root `/`. An initramfs cannot be pivoted away from, only moved over.
pub(crate) fn enter_root() -> Result<()> {
    fs::remove_dir_all("/modules").ok();
    for directory in ["dev", "proc", "sys", "run", "tmp"] {
        let target = Path::new(NEW_ROOT).join(directory);
        fs::create_dir_all(&target).with_context(|| format!("create {}", target.display()))?;
    }
    for directory in ["/dev", "/proc", "/sys"] {
        let target = format!("{NEW_ROOT}{directory}");
        nix::mount::mount(
            Some(directory),
            target.as_str(),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
        .with_context(|| format!("move {directory}"))?;
    }
    std::env::set_current_dir(NEW_ROOT)?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("move the new root over the old")?;
    nix::unistd::chroot(".").context("chroot")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

/// Everything that is mounted whether or not a command asks for it. What a kernel or a profile
/// refuses is returned as a note: `+lockdown` is meant to take some of it away.
pub(crate) fn pseudo_file_systems() -> Vec<String> {
    let table = [
        ("devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666"),
        ("shm", "/dev/shm", "tmpfs", "mode=1777"),
        ("mqueue", "/dev/mqueue", "mqueue", ""),
        ("securityfs", "/sys/kernel/security", "securityfs", ""),
        ("debugfs", "/sys/kernel/debug", "debugfs", ""),
        ("tracefs", "/sys/kernel/tracing", "tracefs", ""),
        ("bpf", "/sys/fs/bpf", "bpf", "mode=700"),
    ];
    let mut notes = Vec::new();
    for (source, target, kind, data) in table {
        fs::create_dir_all(target).ok();
        if let Err(error) = mount(source, target, kind, NONE, Some(data)) {
            notes.push(format!("{error:#}"));
        }
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, link).ok();
    }
    notes
}

/// Mounts the fresh directories, and binds back into them what must stay visible.
pub(crate) fn keep_visible(request: &Request) -> Result<()> {
    let below: Vec<(&str, PathBuf)> = FRESH
        .iter()
        .map(|directory| (*directory, Path::new("/dev/.lab").join(&directory[1..])))
        .collect();
    for (directory, stash) in &below {
        fs::create_dir_all(stash)?;
        bind(Path::new(directory), stash)?;
        mount("fresh", directory, "tmpfs", NONE, Some("mode=1777"))?;
    }
    for path in &request.keep {
        for (directory, stash) in &below {
            let Ok(rest) = path.strip_prefix(directory) else {
                continue;
            };
            let from = stash.join(rest);
            if rest.as_os_str().is_empty() || !from.is_dir() {
                continue;
            }
            fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
            bind(&from, path)?;
        }
    }
    if let Some(modules) = &request.modules {
        let release = nix::sys::utsname::uname()?.release().to_owned();
        let target = Path::new("/lib/modules").join(release);
        fs::create_dir_all(&target)?;
        // The cache may lie below a fresh directory, and need not be kept visible itself.
        let from = below
            .iter()
            .find_map(|(directory, stash)| Some(stash.join(modules.strip_prefix(directory).ok()?)))
            .unwrap_or_else(|| modules.clone());
        bind(&from, &target)?;
    }
    for (_, stash) in &below {
        nix::mount::umount2(stash, nix::mount::MntFlags::MNT_DETACH)?;
        fs::remove_dir(stash).ok();
    }
    fs::remove_dir("/dev/.lab").ok();
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))
}
