//! Takes in what other steps built: the BPF objects of `cargo xtask build-ebpf`, and the protocol.

use std::{env, error::Error, fs, path::Path};

/// One object per fault kind, by the name of its file in chaos-ebpf/src/bin.
const OBJECTS: [&str; 10] = [
    "file_error",
    "dns_error",
    "net_connect",
    "disk_error",
    "mem_mmap",
    "mem_page",
    "mem_slab",
    "net_link",
    "net_loss",
    "syscall_error",
];

fn main() -> Result<(), Box<dyn Error>> {
    objects()?;
    proto()
}

/// Copies the BPF objects next to the crate's sources. It never builds them, so that `cargo build`
/// works on a machine without a BPF toolchain: an object that is missing becomes an empty file, and
/// the loader says so when it is asked for it.
fn objects() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    let built = objects_folder(out);
    println!("cargo:rerun-if-env-changed=KCHAOS_BPF_OBJECTS");
    println!("cargo:rerun-if-changed={}", built.display());
    // For tests that load objects which are not part of kchaos.
    println!("cargo:rustc-env=KCHAOS_OBJECTS_FOLDER={}", built.display());
    let mut missing = Vec::new();
    for name in OBJECTS {
        let from = built.join(name);
        let to = out.join(format!("{name}.o"));
        println!("cargo:rerun-if-changed={}", from.display());
        if from.exists() {
            fs::copy(&from, &to)?;
        } else {
            fs::write(&to, [])?;
            missing.push(name);
        }
    }
    if !missing.is_empty() {
        println!(
            "cargo:warning=no BPF object for {}: kchaos will refuse these faults until `cargo xtask \
             build-ebpf` has run",
            missing.join(", ")
        );
    }
    Ok(())
}

/// `target/bpf/objects` of the workspace, wherever its target directory lies.
fn objects_folder(out: &Path) -> std::path::PathBuf {
    if let Some(folder) = env::var_os("KCHAOS_BPF_OBJECTS") {
        return folder.into();
    }
    // OUT_DIR is TARGET/PROFILE/build/NAME-HASH/out, or one deeper with --target.
    let found = out
        .ancestors()
        .skip(4)
        .take(2)
        .map(|target| target.join("bpf/objects"));
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/objects");
    found
        .into_iter()
        .find(|folder| folder.exists())
        .unwrap_or(beside)
}

/// Compiles `proto/kchaos/v1` to Rust, without a system protoc.
fn proto() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = ["experiment", "evidence", "scheduler", "agent"]
        .map(|stem| root.join(format!("kchaos/v1/{stem}.proto")));
    tonic_prost_build::configure().compile_fds(protox::compile(files, [&root])?)?;
    Ok(())
}
