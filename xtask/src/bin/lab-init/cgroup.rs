//! The guest's control groups.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nix::mount::MsFlags;

use crate::mount;

const ROOT: &str = "/sys/fs/cgroup";
/// The command's own group: a program that found itself in `/` could not be told from the system.
const LAB: &str = "/sys/fs/cgroup/lab";

/// Mounts cgroup2 with all controllers for children of the root, or the v1 hierarchies.
/// Returns what did not work and may be lived without.
pub(crate) fn mount_all(v1: bool) -> Result<Vec<String>> {
    if v1 {
        return mount_v1();
    }
    mount_v2()
}

fn mount_v2() -> Result<Vec<String>> {
    mount("cgroup2", ROOT, "cgroup2", MsFlags::empty(), None)?;
    let mut notes = Vec::new();
    let controllers = fs::read_to_string(format!("{ROOT}/cgroup.controllers"))?;
    for controller in controllers.split_whitespace() {
        // One by one: a single one that cannot be enabled would refuse them all.
        if let Err(error) = fs::write(
            format!("{ROOT}/cgroup.subtree_control"),
            format!("+{controller}"),
        ) {
            notes.push(format!("cgroup controller {controller}: {error}"));
        }
    }
    fs::create_dir(LAB).context("create the command's cgroup")?;
    Ok(notes)
}

fn mount_v1() -> Result<Vec<String>> {
    mount("cgroup", ROOT, "tmpfs", MsFlags::empty(), Some("mode=755"))?;
    let mut notes = Vec::new();
    let table = fs::read_to_string("/proc/cgroups").context("read /proc/cgroups")?;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split_whitespace();
        let (Some(controller), Some("1")) = (columns.next(), columns.nth(2)) else {
            continue;
        };
        let target = format!("{ROOT}/{controller}");
        fs::create_dir_all(&target)?;
        if let Err(error) = mount(
            "cgroup",
            &target,
            "cgroup",
            MsFlags::empty(),
            Some(controller),
        ) {
            fs::remove_dir(&target).ok();
            notes.push(format!("{error:#}"));
        }
    }
    Ok(notes)
}

/// The file that a process joins the command's group by, if there is one.
pub(crate) fn procs() -> Option<fs::File> {
    let path = Path::new(LAB).join("cgroup.procs");
    fs::OpenOptions::new().write(true).open(path).ok()
}
