//! Builds the guest's init.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{process, project};

/// Its own target: flags for a static program must not disturb the host's build.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The static program that is PID 1 of the guest, built if need be.
pub(crate) fn build() -> Result<Vec<u8>> {
    let flags = [
        "-Ctarget-feature=+crt-static",
        "-Copt-level=1",
        "-Cstrip=symbols",
    ];
    let mut command = Command::new(project::cargo());
    command
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "xtask",
            "--bin",
            "lab-init",
        ])
        // Without the commands' dependencies it builds in seconds.
        .args(["--no-default-features", "--target", TARGET])
        .arg("--target-dir")
        .arg(project::target_dir())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(project::root());
    process::run(&mut command).context("build the guest's init")?;
    let program = project::target_dir().join(TARGET).join("debug/lab-init");
    fs::read(&program).with_context(|| format!("read {}", program.display()))
}
