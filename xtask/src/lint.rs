//! `cargo xtask lint`: everything that can be told about the sources without running them.

mod marks;
mod offsets;
pub(crate) mod places;

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{process, project};

/// Checks the format, clippy's lints, dependencies and the project's own rules
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Skip what is not installed (rustfmt, clippy) instead of failing
    #[arg(long)]
    allow_missing: bool,
}

/// Hosts that packages come from, in pieces so that this file does not name them. Where packages
/// come from is the machine's business; the lock file alone says which registry it was made with.
const FOREIGN: [&str; 10] = [
    concat!("../sha", "red"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("files.pythonhosted", ".org"),
    concat!("://pypi", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("registry-1.docker", ".io"),
];
const LOCK_FILE: &str = "Cargo.lock";

type Check = fn(Arguments) -> Result<Verdict>;

/// What a check has to say.
enum Verdict {
    Passed,
    /// It cannot be done here, for this reason.
    Skipped(String),
    Failed(String),
}

/// Runs the subcommand: all checks, whatever became of the ones before.
pub(crate) fn main(arguments: Arguments) -> Result<ExitCode> {
    let checks: [(&str, Check); 9] = [
        ("format", format),
        ("clippy, host", clippy_host),
        ("clippy, BPF", clippy_bpf),
        ("lint settings", lint_settings),
        ("foreign names", foreign_names),
        ("kernel offsets", kernel_offsets),
        ("places of kinds", places_of_kinds),
        ("unfinished kinds", unfinished),
        ("dependencies", dependencies),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        println!("=== {name}");
        match check(arguments).with_context(|| name.to_owned())? {
            Verdict::Passed => (),
            Verdict::Skipped(reason) => println!("skipped: {reason}"),
            Verdict::Failed(reason) => {
                println!("{reason}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        println!("lint: all good");
        return Ok(ExitCode::SUCCESS);
    }
    println!("lint: failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn format(arguments: Arguments) -> Result<Verdict> {
    cargo(arguments, &["fmt", "--all", "--check"])
}

fn clippy_host(arguments: Arguments) -> Result<Verdict> {
    cargo(
        arguments,
        &[
            "clippy",
            "--locked",
            "--workspace",
            "--exclude",
            "chaos-ebpf",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

/// On the host's target, for which clippy has a standard library; there a program that has no
/// unwinder of its own must abort.
fn clippy_bpf(arguments: Arguments) -> Result<Verdict> {
    cargo(
        arguments,
        &[
            "clippy",
            "--locked",
            "--package",
            "chaos-ebpf",
            "--lib",
            "--bins",
            "--",
            "-C",
            "panic=abort",
            "-D",
            "warnings",
        ],
    )
}

/// Runs one of cargo's subcommands that come with a component of their own.
fn cargo(arguments: Arguments, words: &[&str]) -> Result<Verdict> {
    let available = Command::new(project::cargo())
        .args([words[0], "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success();
    if !available {
        let reason = format!("cargo {} is not installed", words[0]);
        return Ok(if arguments.allow_missing {
            Verdict::Skipped(reason)
        } else {
            Verdict::Failed(reason)
        });
    }
    let status = Command::new(project::cargo())
        .args(words)
        .current_dir(project::root())
        .status()?;
    Ok(if status.success() {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("cargo {}: {status}", words[0]))
    })
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// A member that forgets to take over the workspace's lints is checked by none, silently.
fn lint_settings(_: Arguments) -> Result<Verdict> {
    let text = process::output(
        Command::new(project::cargo())
            .args(["metadata", "--locked", "--no-deps", "--format-version", "1"])
            .current_dir(project::root()),
    )?;
    let metadata: Metadata = serde_json::from_str(&text).context("read cargo's metadata")?;
    if metadata.packages.is_empty() {
        bail!("cargo knows no package of the workspace");
    }
    let mut without = Vec::new();
    for package in metadata.packages {
        let manifest = fs::read_to_string(&package.manifest_path)?;
        if !takes_workspace_lints(&manifest) {
            without.push(package.name);
        }
    }
    Ok(if without.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(format!(
            "no `[lints] workspace = true` in: {}",
            without.join(", ")
        ))
    })
}

fn takes_workspace_lints(manifest: &str) -> bool {
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.replace(' ', "") == "workspace=true")
}

/// The project's files, tracked or to be.
fn files() -> Result<Vec<String>> {
    let list = process::output(
        Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(project::root()),
    )?;
    Ok(list
        .split('\0')
        .filter(|file| !file.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Offsets come from the running kernel, never from a source.
fn kernel_offsets(_: Arguments) -> Result<Verdict> {
    let mut found = Vec::new();
    for file in files()? {
        if file.starts_with("chaos-ebpf/src/")
            && let Ok(source) = fs::read_to_string(project::root().join(&file))
        {
            let lines = offsets::suspicious(&file, &source);
            found.extend(lines.iter().map(|line| format!("{file}:{line}")));
        }
    }
    Ok(if found.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(format!(
            "these lines look as if they had a kernel offset in them; name it in \
             chaos-ebpf/src/kernel.rs instead:\n{}",
            found.join("\n")
        ))
    })
}

/// What is forgotten when a kind is added, and nothing else would notice.
fn places_of_kinds(_: Arguments) -> Result<Verdict> {
    let read = |path: &str| fs::read_to_string(project::root().join(path)).ok();
    let forgotten = places::all_forgotten(&read)?;
    Ok(if forgotten.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(forgotten.join("\n"))
    })
}

/// A scaffold must not pass for a kind.
fn unfinished(_: Arguments) -> Result<Verdict> {
    let mut found = Vec::new();
    for file in files()? {
        if let Ok(text) = fs::read_to_string(project::root().join(&file)) {
            found.extend(
                marks::of(&text).map(|(line, kind)| format!("{file}:{line}: {kind} is not done")),
            );
        }
    }
    Ok(if found.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(found.join("\n"))
    })
}

/// The project must stand alone.
fn foreign_names(_: Arguments) -> Result<Verdict> {
    let mut found = Vec::new();
    for file in files()?.iter().filter(|file| *file != LOCK_FILE) {
        // Files that are deleted but not yet committed, and directories of other repositories.
        let Ok(bytes) = fs::read(project::root().join(file)) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            if let Some(name) = FOREIGN.iter().find(|name| line.contains(*name)) {
                found.push(format!("{file}:{}: names {name}", number + 1));
            }
        }
    }
    Ok(if found.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(found.join("\n"))
    })
}

/// Licences, sources and duplicates; advisories need a database from the network.
fn dependencies(_: Arguments) -> Result<Verdict> {
    let arguments = Arguments {
        allow_missing: true,
    };
    cargo(
        arguments,
        &["deny", "--locked", "check", "bans", "licenses", "sources"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lints_table_counts() {
        assert!(takes_workspace_lints(
            "[package]\n[lints]\nworkspace = true\n"
        ));
        assert!(!takes_workspace_lints(
            "[package]\nworkspace = true\n[lints]\n[x]\nworkspace = true"
        ));
        assert!(!takes_workspace_lints("[package]\n"));
    }
}
