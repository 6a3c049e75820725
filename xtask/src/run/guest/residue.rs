//! What is in the kernel and on its file systems: before the agent starts, and after it is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

use super::{cgroup, daemon::TICK};
use crate::run::account::Things;

/// The kernel frees programs and maps when nobody can be inside any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where files of ours may be.
const FILES: [&str; 2] = ["/run/kchaos", "/sys/fs/bpf"];

/// Everything of the kinds that an agent makes.
#[derive(Debug)]
pub(super) struct Census(BTreeMap<&'static str, BTreeSet<String>>);

impl Census {
    /// Counts.
    pub(super) fn take() -> Result<Self> {
        let mut programs = BTreeSet::new();
        for program in loaded_programs() {
            let program = program?;
            let name = String::from_utf8_lossy(program.name()).into_owned();
            programs.insert(format!("{} {name}", program.id()));
        }
        let mut maps = BTreeSet::new();
        for map in loaded_maps() {
            let map = map?;
            let name = String::from_utf8_lossy(map.name()).into_owned();
            maps.insert(format!("{} {name}", map.id()));
        }
        let mut links = BTreeSet::new();
        for link in loaded_links() {
            let link = link?;
            links.insert(format!("{} of program {}", link.id(), link.program_id()));
        }
        let mut cgroups = BTreeSet::new();
        collect(Path::new(cgroup::MOUNT), true, &mut cgroups);
        let mut files = BTreeSet::new();
        for place in FILES {
            collect(Path::new(place), false, &mut files);
        }
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        Ok(Self(BTreeMap::from([
            ("BPF programs", programs),
            ("BPF maps", maps),
            ("BPF links", links),
            ("cgroups", cgroups),
            ("files", files),
            ("mounts", mounts.lines().map(str::to_owned).collect()),
            ("processes", processes()?),
        ])))
    }

    /// What is there now and was not then.
    pub(super) fn news(&self) -> Result<Vec<Things>> {
        Ok(Self::take()?.beyond(self))
    }

    /// The same, but waits a little for it to go.
    pub(super) fn residue(&self) -> Result<Vec<Things>> {
        let start = Instant::now();
        loop {
            // Something may vanish between being listed and being looked at.
            let residue = self.news();
            let clean = residue
                .as_ref()
                .is_ok_and(|kinds| kinds.iter().all(|kind| kind.names.is_empty()));
            if clean || start.elapsed() > PATIENCE {
                return residue;
            }
            thread::sleep(TICK);
        }
    }

    fn beyond(self, then: &Self) -> Vec<Things> {
        let none = BTreeSet::new();
        self.0
            .into_iter()
            .map(|(kind, now)| Things {
                kind: kind.to_owned(),
                names: now
                    .difference(then.0.get(kind).unwrap_or(&none))
                    .cloned()
                    .collect(),
            })
            .collect()
    }
}

/// Everything below a directory, or only the directories. One that is not there is empty.
fn collect(directory: &Path, only_directories: bool, into: &mut BTreeSet<String>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory || !only_directories {
            into.insert(entry.path().display().to_string());
        }
        if is_directory {
            collect(&entry.path(), only_directories, into);
        }
    }
}

/// Processes of ours, the guard included.
fn processes() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        // Most are no processes, and some are gone already.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        if name.starts_with("kchaos") {
            let pid = entry.file_name().to_string_lossy().into_owned();
            found.insert(format!("{pid} {}", name.trim_end()));
        }
    }
    Ok(found)
}
