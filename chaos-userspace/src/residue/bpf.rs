//! BPF programs, maps and links of ours, by the kernel's own lists.

use std::{collections::HashMap, fs, path::Path};

use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

use super::LookError;
use crate::engine::{NAME_PREFIX, chain};

/// What kind of BPF object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BpfKind {
    /// A program.
    Program,
    /// A map.
    Map,
    /// A program's attachment.
    Link,
}

impl BpfKind {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "BPF program",
            Self::Map => "BPF map",
            Self::Link => "BPF link",
        }
    }
}

/// One that has a name of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfObject {
    /// What it is.
    pub kind: BpfKind,
    /// The kernel's number for it.
    pub id: u32,
    /// Its name; a link has its program's.
    pub name: String,
    /// A process that holds it open.
    pub holder: Option<u32>,
}

/// Every one, in the kernel's order.
pub(super) fn look() -> Result<Vec<BpfObject>, LookError> {
    let mut found = Vec::new();
    let mut programs = HashMap::new();
    let mut programs_of_links = HashMap::new();
    let mut programs_of_maps: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut add = |kind, id, name| {
        found.push(BpfObject {
            kind,
            id,
            name,
            holder: None,
        });
    };
    // What goes away while it is looked at is gone.
    for program in loaded_programs()
        .filter_map(listed)
        .collect::<Listed<_>>()?
    {
        let name = text(program.name());
        if !name.starts_with(NAME_PREFIX) {
            continue;
        }
        programs.insert(program.id(), name.clone());
        for map in program.map_ids().ok().flatten().unwrap_or_default() {
            programs_of_maps.entry(map).or_default().push(program.id());
        }
        add(BpfKind::Program, program.id(), name);
    }
    for map in loaded_maps().filter_map(listed).collect::<Listed<_>>()? {
        let name = text(map.name());
        if programs_of_maps.contains_key(&map.id()) || name.starts_with(NAME_PREFIX) {
            add(BpfKind::Map, map.id(), name);
        }
    }
    for link in loaded_links().filter_map(listed).collect::<Listed<_>>()? {
        if let Some(name) = programs.get(&link.program_id()) {
            programs_of_links.insert(link.id(), link.program_id());
            add(BpfKind::Link, link.id(), name.clone());
        }
    }
    if !found.is_empty() {
        let holders = holders();
        for object in &mut found {
            object.holder = holders.get(&(object.kind, object.id)).copied();
        }
        // A program that is attached needs no descriptor of its own: whoever holds its link has it.
        let holder_of = |program: &BpfObject| {
            programs_of_links
                .iter()
                .filter(|(_, of)| **of == program.id)
                .find_map(|(link, _)| holders.get(&(BpfKind::Link, *link)))
                .copied()
        };
        for object in &mut found {
            if object.kind == BpfKind::Program && object.holder.is_none() {
                object.holder = holder_of(object);
            }
        }
        // And a map needs none that is only programs'.
        let by_program: HashMap<u32, u32> = found
            .iter()
            .filter(|object| object.kind == BpfKind::Program)
            .filter_map(|program| Some((program.id, program.holder?)))
            .collect();
        for object in &mut found {
            if object.kind == BpfKind::Map && object.holder.is_none() {
                let programs = programs_of_maps.get(&object.id);
                let mut holders = programs
                    .into_iter()
                    .flatten()
                    .filter_map(|id| by_program.get(id));
                object.holder = holders.next().copied();
            }
        }
    }
    Ok(found)
}

type Listed<T> = Result<Vec<T>, LookError>;

/// An object that was there, an error that means that nothing can be seen, or neither for one that
/// has just gone.
fn listed<T, E: std::error::Error + 'static>(one: Result<T, E>) -> Option<Result<T, LookError>> {
    match one {
        Ok(one) => Some(Ok(one)),
        Err(error) => {
            let gone = errno(&error) == Some(libc::ENOENT);
            (!gone).then(|| Err(LookError::Bpf(chain(&error))))
        }
    }
}

fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut error = Some(error);
    while let Some(inner) = error {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        error = inner.source();
    }
    None
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Who has which of them open.
fn holders() -> HashMap<(BpfKind, u32), u32> {
    let mut holders = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return holders;
    };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|pid| pid.parse().ok())
        else {
            continue;
        };
        for object in open_in(&process.path()) {
            holders.entry(object).or_insert(pid);
        }
    }
    holders
}

fn open_in(process: &Path) -> Vec<(BpfKind, u32)> {
    let Ok(descriptors) = fs::read_dir(process.join("fdinfo")) else {
        return Vec::new();
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
        .filter_map(|info| object_of(&info))
        .collect()
}

/// A link's fdinfo names its program too; what it is itself stands first.
fn object_of(fdinfo: &str) -> Option<(BpfKind, u32)> {
    let value = |key: &str| {
        fdinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| value.trim().parse().ok())
    };
    [
        ("link_id", BpfKind::Link),
        ("prog_id", BpfKind::Program),
        ("map_id", BpfKind::Map),
    ]
    .into_iter()
    .find_map(|(key, kind)| Some((kind, value(key)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_says_what_a_descriptor_is() {
        let link = "pos:\t0\nlink_type:\ttracing\nlink_id:\t7\nprog_tag:\tab\nprog_id:\t9\n";
        assert_eq!(object_of(link), Some((BpfKind::Link, 7)));
        let map = "flags:\t02\nmap_type:\t1\nmap_id:\t12\n";
        assert_eq!(object_of(map), Some((BpfKind::Map, 12)));
        assert_eq!(object_of("pos:\t0\nflags:\t02\n"), None);
    }
}
