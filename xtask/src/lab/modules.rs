//! Kernel modules for the initramfs: chosen, unpacked and sorted by what they depend on.
//!
//! The packages carry no `modules.dep` and the machine need not have kmod, so that dependencies are
//! read from the modules themselves.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use object::{Object as _, ObjectSection as _};
use serde::{Deserialize, Serialize};

use crate::cache;

/// What the root file system and the ports need.
const EARLY: [&str; 5] = [
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "overlay",
];

/// What commands in the lab may need and cannot load, because the guest has no modprobe that the
/// kernel could call. A kernel that has one of them built in, or not at all, is fine.
const LATE: [&str; 18] = [
    // ext4 asks for it by its algorithm, which is no dependency that the module names.
    "crc32c_generic",
    "ext4",
    "loop",
    "veth",
    "dummy",
    "ifb",
    "sch_fq",
    "sch_netem",
    "sch_ingress",
    "sch_tbf",
    "cls_bpf",
    "act_bpf",
    "act_gact",
    "act_mirred",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
];

/// Modules in a directory of the cache, as `NAME.ko`.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Where they are.
    pub(crate) directory: PathBuf,
    /// Names in load order.
    pub(crate) early: Vec<String>,
    /// Names in load order, without those of `early`.
    pub(crate) late: Vec<String>,
}

#[derive(Deserialize, PartialEq, Serialize)]
struct Index {
    /// What was asked for: another list makes the directory stale.
    wanted: Vec<String>,
    early: Vec<String>,
    late: Vec<String>,
}

/// The modules of a kernel, unpacked on first use.
pub(crate) fn prepare(kernel: &Path) -> Result<Prepared> {
    let directory = kernel.join("initramfs-modules");
    let load = || -> Option<Prepared> {
        let text = fs::read_to_string(directory.join("index.json")).ok()?;
        let index: Index = serde_json::from_str(&text).ok()?;
        let Index {
            wanted,
            early,
            late,
        } = index;
        (wanted == wanted_now()).then(|| Prepared {
            directory: directory.clone(),
            early,
            late,
        })
    };
    if let Some(prepared) = load() {
        return Ok(prepared);
    }
    let _lock = cache::lock("modules")?;
    if let Some(prepared) = load() {
        return Ok(prepared);
    }
    unpack(&kernel.join("modules"), &directory)?;
    load().context("modules were unpacked but cannot be read")
}

fn wanted_now() -> Vec<String> {
    EARLY
        .iter()
        .chain(&LATE)
        .map(|name| (*name).to_owned())
        .collect()
}

fn unpack(tree: &Path, directory: &Path) -> Result<()> {
    let mut files = BTreeMap::new();
    collect(&tree.join("kernel"), &mut files)?;
    let staged = cache::Staged::new(directory.to_path_buf())?;
    let mut walk = Walk {
        files,
        into: staged.path().to_path_buf(),
        seen: HashSet::new(),
    };
    let mut order = |names: &[&str]| -> Result<Vec<String>> {
        let mut order = Vec::new();
        for name in names {
            walk.visit(name, &mut order)?;
        }
        Ok(order)
    };
    let early = order(&EARLY)?;
    let late = order(&LATE)?;
    let index = Index {
        wanted: wanted_now(),
        early,
        late,
    };
    fs::write(
        staged.path().join("index.json"),
        serde_json::to_vec(&index)?,
    )?;
    staged.commit()
}

/// Modules by name: the kernel takes `-` and `_` for the same.
fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, _)) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split_once(".ko"))
        {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

struct Walk {
    files: BTreeMap<String, PathBuf>,
    into: PathBuf,
    seen: HashSet<String>,
}

impl Walk {
    /// Unpacks a module after everything that it depends on.
    fn visit(&mut self, name: &str, order: &mut Vec<String>) -> Result<()> {
        // Built in, or absent from this kernel.
        let Some(path) = self.files.get(name) else {
            return Ok(());
        };
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let module = read(path).with_context(|| path.display().to_string())?;
        for dependency in dependencies(&module).with_context(|| path.display().to_string())? {
            self.visit(&dependency, order)?;
        }
        fs::write(self.into.join(format!("{name}.ko")), module)?;
        order.push(name.to_owned());
        Ok(())
    }
}

/// The loader of an initramfs takes plain modules only.
fn read(path: &Path) -> Result<Vec<u8>> {
    let raw = fs::read(path)?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(raw);
    }
    let mut plain = Vec::new();
    lzma_rs::xz_decompress(&mut Cursor::new(raw), &mut plain)
        .map_err(|error| anyhow!("unpack: {error:?}"))?;
    Ok(plain)
}

fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("no .modinfo")?;
    let text = section.data()?;
    Ok(text
        .split(|byte| *byte == 0)
        .filter_map(|entry| str::from_utf8(entry).ok()?.strip_prefix("depends="))
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect())
}
