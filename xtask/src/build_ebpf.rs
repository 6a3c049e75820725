//! `cargo xtask build-ebpf`: the only thing that builds BPF objects. User space's build script
//! copies what it finds in `target/bpf/objects` and never runs cargo.

mod atomics;
mod instruction;
mod stack;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    cache, process, project,
    setup::{self, Need},
    toolchain::{self, Toolchain},
};

const TARGET: &str = "bpfel-unknown-none";
/// Flags of every object. BTF is made from the debug information; atomics that return the old
/// value, which budgets are made of, need the third version of the instruction set.
const FLAGS: [&str; 4] = [
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Ctarget-cpu=v3",
    "--cfg=bpf_target_arch=\"x86_64\"",
];

/// What is written beside the objects.
#[derive(Serialize)]
struct Manifest {
    rustc: String,
    cargo: String,
    bpf_linker: String,
    objects: BTreeMap<String, Object>,
}

#[derive(Serialize)]
struct Object {
    sha256: String,
    size: usize,
}

/// What was built, and by what.
pub(crate) struct Built {
    toolchain: Toolchain,
    linker: PathBuf,
    manifest: Manifest,
}

/// Builds all objects and prints their sizes.
pub(crate) fn main() -> Result<()> {
    let start = Instant::now();
    let built = build()?;
    println!(
        "toolchain: {} ({})",
        built.toolchain.label,
        built.toolchain.cargo.display()
    );
    println!("linker:    {}", built.linker.display());
    println!("{:<24} {:>8}  sha256", "object", "bytes");
    for (name, Object { sha256, size }) in &built.manifest.objects {
        println!("{name:<24} {size:>8}  {}", &sha256[..16]);
    }
    println!(
        "built in {:.1} s: {}",
        start.elapsed().as_secs_f64(),
        objects_dir().display()
    );
    Ok(())
}

/// Builds all objects. Standard output is left to the caller.
pub(crate) fn build() -> Result<Built> {
    setup::ensure(&[Need::BpfToolchain, Need::BpfLinker])?;
    let toolchain = toolchain::find().context("no toolchain with rust-src")?;
    let linker = toolchain::bpf_linker().context("no bpf-linker")?;
    compile(&toolchain, &linker)?;
    let objects = collect()?;
    let version = |program: &Path| -> Result<String> {
        Ok(process::output(Command::new(program).arg("--version"))?
            .trim()
            .to_owned())
    };
    let manifest = Manifest {
        rustc: version(&toolchain.rustc)?,
        cargo: version(&toolchain.cargo)?,
        bpf_linker: version(&linker)?,
        objects,
    };
    let mut text = serde_json::to_vec_pretty(&manifest)?;
    text.push(b'\n');
    write_if_changed(&objects_dir().join("manifest.json"), &text)?;
    Ok(Built {
        toolchain,
        linker,
        manifest,
    })
}

fn build_dir() -> PathBuf {
    project::target_dir().join("bpf")
}

fn objects_dir() -> PathBuf {
    build_dir().join("objects")
}

fn compile(toolchain: &Toolchain, linker: &Path) -> Result<()> {
    let mut command = Command::new(&toolchain.cargo);
    command
        .args([
            "build",
            "--package",
            "chaos-ebpf",
            "--bins",
            "--profile",
            "bpf",
            "--locked",
        ])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(build_dir())
        .current_dir(project::root())
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        // -Z on a stable toolchain. For this child only: it changes what other crates' build
        // scripts believe about the compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path_with(linker)?);
    // xtask was started by another cargo, which by these tells its children to use its own
    // compiler (rustup's proxies set RUSTUP_TOOLCHAIN, clippy sets the wrapper) and the flags of
    // host programs. Some of them would win over what we choose.
    for name in [
        "RUSTUP_TOOLCHAIN",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(name);
    }
    // Otherwise cargo would take whatever rustc comes first on PATH.
    command.env("RUSTC", &toolchain.rustc);
    process::run(&mut command).context("build the BPF objects")
}

/// rustc looks the linker of a BPF target up on PATH.
fn path_with(linker: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directory = linker.parent().map(Path::to_path_buf);
    Ok(env::join_paths(
        directory.into_iter().chain(env::split_paths(&path)),
    )?)
}

/// Copies the objects to where user space finds them.
fn collect() -> Result<BTreeMap<String, Object>> {
    let directory = objects_dir();
    fs::create_dir_all(&directory)?;
    let mut objects = BTreeMap::new();
    for name in names()? {
        let built = build_dir().join(TARGET).join("bpf").join(&name);
        let bytes = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
        let source = sources().join(&name).with_extension("rs");
        let text = fs::read_to_string(&source).with_context(|| source.display().to_string())?;
        atomics::check(&bytes, &text)
            .and_then(|()| stack::check(&bytes))
            .with_context(|| format!("check the object {name}"))?;
        write_if_changed(&directory.join(&name), &bytes)?;
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        objects.insert(
            name,
            Object {
                sha256,
                size: bytes.len(),
            },
        );
    }
    Ok(objects)
}

fn sources() -> PathBuf {
    project::root().join("chaos-ebpf/src/bin")
}

/// One object per file in `chaos-ebpf/src/bin`.
fn names() -> Result<Vec<String>> {
    let sources = sources();
    let mut names = Vec::new();
    for entry in fs::read_dir(&sources).with_context(|| sources.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A new modification time would have user space rebuilt for nothing.
fn write_if_changed(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    cache::write_atomically(path, contents)
}
