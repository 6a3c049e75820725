//! Kernels in the cache: fetched, unpacked, and their modules made ready for the initramfs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{archive::Archive, compile, image, kernels::Kernel, modules};
use crate::{cache, process};

/// A kernel that is ready to boot.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The kernel's file.
    pub(crate) image: PathBuf,
    /// `CONFIG_LSM` of the kernel.
    pub(crate) lsm: Vec<String>,
    /// What belongs at `/lib/modules/RELEASE`.
    pub(crate) modules: PathBuf,
    /// Unpacked modules for the initramfs.
    pub(crate) prepared: modules::Prepared,
}

/// Which version a name stands for, until `setup` asks again.
#[derive(Deserialize, Serialize)]
struct Resolved {
    version: String,
}

fn resolved_path(kernel: &Kernel) -> Result<PathBuf> {
    Ok(cache::subdir("kernels")?.join(format!("{}.json", kernel.name)))
}

fn resolved(kernel: &Kernel) -> Result<Option<String>> {
    let Ok(text) = fs::read_to_string(resolved_path(kernel)?) else {
        return Ok(None);
    };
    // An unreadable answer is as good as none: it will be asked for again.
    Ok(serde_json::from_str::<Resolved>(&text)
        .ok()
        .map(|resolved| resolved.version))
}

fn directory(version: &str) -> Result<PathBuf> {
    Ok(cache::subdir("kernels")?.join(version))
}

/// Whether the kernel can be booted without the network.
pub(crate) fn is_present(kernel: &Kernel) -> Result<bool> {
    Ok(match (resolved(kernel)?, &kernel.recipe) {
        (None, _) => false,
        (Some(key), Some(recipe)) if !compile::is_of(recipe, &key) => false,
        (Some(version), _) => directory(&version)?.join("vmlinuz").exists(),
    })
}

/// Fetches or builds the kernel unless it is there; `refresh` asks the archive for a newer version
/// first.
pub(crate) fn fetch(kernel: &Kernel, refresh: bool) -> Result<()> {
    if !refresh && is_present(kernel)? {
        return Ok(());
    }
    let _lock = cache::lock("kernels")?;
    if !refresh && is_present(kernel)? {
        return Ok(());
    }
    let start = Instant::now();
    let archive = Archive::open()?;
    let package = kernel
        .recipe
        .as_ref()
        .map_or("linux-image-amd64", |recipe| recipe.source);
    let newest = archive.newest(package, kernel.prefix)?;
    let version = kernel
        .recipe
        .as_ref()
        .map_or_else(|| newest.clone(), |recipe| compile::key(recipe, &newest));
    let target = directory(&version)?;
    if !target.join("vmlinuz").exists() {
        if let Some(recipe) = &kernel.recipe {
            eprintln!(
                "xtask: building kernel {} ({newest}), which takes about 30 CPU minutes",
                kernel.name
            );
            compile::build(&archive, recipe, &newest, &target)?;
        } else {
            eprintln!("xtask: fetching kernel {} ({version})", kernel.name);
            unpack(&archive, &version, &target)?;
        }
        eprintln!(
            "xtask: kernel {} is there after {:.0?}",
            kernel.name,
            start.elapsed()
        );
    }
    cache::write_atomically(
        &resolved_path(kernel)?,
        &serde_json::to_vec(&Resolved { version })?,
    )
}

/// Follows the meta package to the packages that hold files of this very version.
fn packages(archive: &Archive, version: &str) -> Result<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut todo = vec![("linux-image-amd64".to_owned(), version.to_owned())];
    while let Some((name, version)) = todo.pop() {
        for dependency in archive.exact_dependencies(&name, &version)? {
            let ours = [
                "linux-image-",
                "linux-binary-",
                "linux-modules-",
                "linux-base-",
            ]
            .iter()
            .any(|prefix| dependency.0.starts_with(prefix));
            if ours && !found.contains(&dependency) {
                found.push(dependency.clone());
                todo.push(dependency);
            }
        }
    }
    Ok(found)
}

fn unpack(archive: &Archive, version: &str, target: &Path) -> Result<()> {
    let staged = cache::Staged::new(target.to_path_buf())?;
    let debs = staged.path().join("debs");
    let tree = staged.path().join("tree");
    fs::create_dir(&debs)?;
    fs::create_dir(&tree)?;
    let packages = packages(archive, version)?;
    archive.download(&packages, &debs)?;
    for entry in fs::read_dir(&debs)? {
        process::run(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry?.path())
                .arg(&tree),
        )?;
    }
    // Debian moved modules below /usr, and later everything else to them.
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|place| tree.join(place))
        .find(|place| place.exists())
        .context("no modules in the kernel's packages")?;
    let release = only_entry(&modules)?;
    let modules = modules.join(&release);
    for (name, there) in [
        ("vmlinuz", format!("vmlinuz-{release}")),
        ("config", format!("config-{release}")),
    ] {
        let candidates = [tree.join("boot").join(there), modules.join(name)];
        let Some(found) = candidates.iter().find(|path| path.exists()) else {
            bail!("no {name} in the packages {packages:?}");
        };
        fs::rename(found, staged.path().join(name))?;
    }
    fs::rename(&modules, staged.path().join("modules"))?;
    fs::remove_dir_all(&debs)?;
    fs::remove_dir_all(&tree)?;
    staged.commit()
}

fn only_entry(directory: &Path) -> Result<String> {
    let mut entries = fs::read_dir(directory)?;
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        bail!("not exactly one entry in {}", directory.display());
    };
    Ok(entry?.file_name().to_string_lossy().into_owned())
}

/// The configuration that a kernel of the cache was built with.
pub(crate) fn config(kernel: &Kernel) -> Result<String> {
    let version = resolved(kernel)?.context("the kernel is not in the cache")?;
    let path = directory(&version)?.join("config");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The kernel from the cache, its modules made ready on first use.
pub(crate) fn open(kernel: &Kernel) -> Result<Stored> {
    let version = resolved(kernel)?.context("the kernel is not in the cache")?;
    let directory = directory(&version)?;
    let config = config(kernel)?;
    let lsm = config
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_LSM=\"")?.strip_suffix('"'))
        .unwrap_or_default();
    Ok(Stored {
        image: image::unpacked(&directory.join("vmlinuz")),
        lsm: lsm.split(',').map(str::to_owned).collect(),
        modules: directory.join("modules"),
        prepared: modules::prepare(&directory)?,
    })
}
