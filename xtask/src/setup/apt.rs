//! Packages of the machine's own suites.

use std::{io, process::Command, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Runs apt-get such that no package starts a service, and leaves no trace of that: the file is
/// removed by the shell, which outlives an xtask that is interrupted. `$1` is the file.
const WITHOUT_SERVICES: &str = r#"
policy=$1; shift
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
fi
"$@"
"#;
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages, or says how to.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "packages are missing; run:\n\n    sudo apt-get install --no-install-recommends {list}\n"
        );
    }
    let start = Instant::now();
    let mut updated = false;
    if packages.iter().any(|package| !is_known(package)) {
        update()?;
        updated = true;
        let unknown: Vec<_> = packages
            .iter()
            .filter(|package| !is_known(package))
            .collect();
        if !unknown.is_empty() {
            bail!(
                "apt knows no {unknown:?}. Debian 12 has all packages that the project needs, some \
                 of them in its security suite (bookworm-security): is that among apt's sources?"
            );
        }
    }
    eprintln!("setup: installing {list}");
    if let Err(error) = run_install(packages) {
        // The lists may be older than the mirror.
        if updated {
            return Err(error);
        }
        update()?;
        run_install(packages)?;
    }
    eprintln!(
        "setup: packages are there after {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn apt_get() -> Vec<&'static str> {
    vec![
        "apt-get",
        "-q",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=900",
        // Progress bars fill logs.
        "-o",
        "Dpkg::Use-Pty=0",
    ]
}

/// A package without a candidate is known to apt if only something else mentions it.
fn is_known(package: &str) -> bool {
    process::output(
        Command::new("apt-cache")
            .env("LC_ALL", "C")
            .args(["policy", package]),
    )
    .is_ok_and(|text| {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix("Candidate:"))
            .any(|candidate| candidate.trim() != "(none)")
    })
}

fn update() -> Result<()> {
    eprintln!("setup: updating apt's package lists");
    let words = apt_get();
    process::run(
        Command::new(words[0])
            .args(&words[1..])
            .arg("update")
            .stdout(io::stderr()),
    )
    .context("update apt's package lists")
}

fn run_install(packages: &[&str]) -> Result<()> {
    process::run(
        Command::new("sh")
            .args(["-c", WITHOUT_SERVICES, "sh", POLICY])
            .args(apt_get())
            // What is there in another version stays as it is: upgrades are the owner's business.
            .args(["install", "--no-install-recommends", "--no-upgrade"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Standard output belongs to the command that the packages are needed for.
            .stdout(io::stderr()),
    )
    .context("install packages")
}
