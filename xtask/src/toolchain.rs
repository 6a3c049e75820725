//! Finds what builds BPF objects: a Rust toolchain that has the sources of `core`, and bpf-linker.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{cache, process, project};

/// The version that the objects are built and tested with.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";
/// The oldest compiler that the workspace's `rust-version` allows.
const OLDEST: (u32, u32) = (1, 95);

/// A toolchain that can build `core` for a BPF target.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// Where it was found, for people.
    pub(crate) label: String,
    /// Its cargo.
    pub(crate) cargo: PathBuf,
    /// Its rustc.
    pub(crate) rustc: PathBuf,
}

/// The first of: `KCHAOS_BPF_CARGO` and `KCHAOS_BPF_RUSTC`; rustup's toolchains in its order;
/// Debian's rustc-web, cargo-web and rust-web-src.
pub(crate) fn find() -> Option<Toolchain> {
    from_environment().or_else(from_rustup).or_else(from_debian)
}

fn from_environment() -> Option<Toolchain> {
    let cargo = env::var_os("KCHAOS_BPF_CARGO")?;
    let rustc = env::var_os("KCHAOS_BPF_RUSTC")?;
    Some(Toolchain {
        label: "KCHAOS_BPF_CARGO and KCHAOS_BPF_RUSTC".to_owned(),
        cargo: cargo.into(),
        rustc: rustc.into(),
    })
}

fn from_rustup() -> Option<Toolchain> {
    let rustup = project::find_program("rustup")?;
    let list = process::output(Command::new(&rustup).args(["toolchain", "list"])).ok()?;
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find_map(|name| {
            let sysroot = process::output(
                Command::new(&rustup).args(["run", name, "rustc", "--print", "sysroot"]),
            )
            .ok()?;
            let bin = Path::new(sysroot.trim()).join("bin");
            usable(format!("rustup's {name}"), &bin)
        })
}

fn from_debian() -> Option<Toolchain> {
    usable("Debian's packages".to_owned(), Path::new("/usr/bin"))
}

/// New enough, and with the sources of `core`.
fn usable(label: String, bin: &Path) -> Option<Toolchain> {
    let (cargo, rustc) = (bin.join("cargo"), bin.join("rustc"));
    if !cargo.exists() || version(&rustc)? < OLDEST {
        return None;
    }
    let sysroot = process::output(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    sources.exists().then_some(Toolchain {
        label,
        cargo,
        rustc,
    })
}

fn version(rustc: &Path) -> Option<(u32, u32)> {
    let text = process::output(Command::new(rustc).arg("--version")).ok()?;
    let mut numbers = text.split(' ').nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Where `setup` installs bpf-linker.
pub(crate) fn bpf_linker_root() -> Result<PathBuf> {
    Ok(cache::dir()?.join(format!("bpf-linker-{BPF_LINKER_VERSION}")))
}

/// bpf-linker in our version: on PATH, else in the cache.
pub(crate) fn bpf_linker() -> Option<PathBuf> {
    let cached = bpf_linker_root().ok()?.join("bin/bpf-linker");
    project::find_program("bpf-linker")
        .into_iter()
        .chain([cached])
        .find(|program| {
            process::output(Command::new(program).arg("--version"))
                .is_ok_and(|text| text.split_whitespace().nth(1) == Some(BPF_LINKER_VERSION))
        })
}
