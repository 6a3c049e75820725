//! `cargo xtask new-fault`: the places of a new kind, with marks where a person has to decide.

mod edits;
mod kind;
mod tree;

use std::{
    fs,
    io::Write as _,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{lint::places, project};
use kind::{Kind, Mechanism};
use tree::{Changed, Read, Tree};

/// Scaffolds a kind of fault in all places that it touches
///
/// Makes the kind's own files and edits the shared ones, as "How to add a fault" in CONTRIBUTING.md
/// has them. The result compiles, with one field (`share`) in place of the kind's own, and is
/// refused wherever it is asked for. Where a person has to decide stands a mark, and `cargo xtask
/// lint` fails as long as there is one. If an anchor is missing nothing is written.
///
/// Exit status 2 if there is such a kind already, or can't be one.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Two words with a dot, such as net.truncate
    #[arg(value_name = "KIND", value_parser = kind::parse)]
    name: String,
    /// How it is done first; by default cgroup-skb for net.*, cgroup-knob for pressure.*, else lsm
    ///
    /// Kinds that are about system calls share the programs of syscall.error, which no scaffold
    /// does: see how `syscall_return` has it.
    #[arg(long, value_enum, value_name = "NAME")]
    mechanism: Option<Mechanism>,
    /// It has no BPF program: a control file of the target's cgroup does it (cgroup-knob)
    #[arg(long)]
    no_program: bool,
}

/// Runs the subcommand.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let read = |path: &str| fs::read_to_string(project::root().join(path)).ok();
    let kind = match wanted(arguments, &read) {
        Ok(kind) => kind,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut changed = scaffold(&kind, &read)?;
    let formatted = format(&mut changed)?;
    for file in &changed {
        let path = project::root().join(&file.path);
        fs::write(&path, &file.text).with_context(|| format!("write {}", path.display()))?;
    }
    print!("{}", report(&kind, &changed, formatted));
    Ok(ExitCode::SUCCESS)
}

/// The kind that is asked for, if it is none yet.
fn wanted(arguments: &Arguments, read: Read<'_>) -> Result<Kind> {
    if places::names(read)?.contains(&arguments.name) {
        bail!(
            "{} is a kind already: docs/faults/{}.md",
            arguments.name,
            arguments.name.replace('.', "_")
        );
    }
    Kind::new(&arguments.name, arguments.mechanism, arguments.no_program)
}

/// All files that change, or an error that names each anchor that is missing.
fn scaffold(kind: &Kind, read: Read<'_>) -> Result<Vec<Changed>> {
    let mut tree = Tree::new(kind, read);
    edits::make(kind, &mut tree);
    tree.finish()
}

/// Formats the Rust sources; says whether rustfmt is there.
fn format(changed: &mut [Changed]) -> Result<bool> {
    let rustfmt = std::env::var_os("RUSTFMT").unwrap_or_else(|| "rustfmt".into());
    for file in changed.iter_mut().filter(|file| is_rust(&file.path)) {
        let started = Command::new(&rustfmt)
            .args(["--edition", "2024"])
            // For rustfmt.toml.
            .current_dir(project::root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            return Ok(false);
        };
        if let Some(mut input) = child.stdin.take() {
            input.write_all(file.text.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "nothing was written, because {} would not be Rust: {}",
                file.path,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        file.text = String::from_utf8(output.stdout)?;
    }
    Ok(true)
}

fn is_rust(path: &str) -> bool {
    std::path::Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

/// What was done, and what is left for a person.
fn report(kind: &Kind, changed: &[Changed], formatted: bool) -> String {
    let mut lines = vec![format!("{}: files of its own", kind.name)];
    let list = |is_new: bool| {
        changed
            .iter()
            .filter(move |file| file.is_new == is_new)
            .map(|file| format!("  {}", file.path))
    };
    lines.extend(list(true));
    lines.push("edited".to_owned());
    lines.extend(list(false));
    lines.push(format!(
        "\nTo decide, in this order: `cargo xtask lint` fails as long as one {} is left",
        kind.mark()
    ));
    for file in changed {
        for (number, line) in file.text.lines().enumerate() {
            // A cell of a table ends with a bar.
            if let Some((_, rest)) = line.split_once(&kind.mark()) {
                let what = rest.split('|').next().unwrap_or_default();
                let what = what.trim_start_matches(':').trim();
                let what = if what.is_empty() { "a cell" } else { what };
                lines.push(format!("  {}:{}: {what}", file.path, number + 1));
            }
        }
    }
    lines.push(
        "\nTo do without a mark (\"How to add a fault\" in CONTRIBUTING.md has all of it):"
            .to_owned(),
    );
    if !formatted {
        lines.push("  cargo fmt: there is no rustfmt here".to_owned());
    }
    lines.extend(unmarked(kind).iter().map(|line| format!("  {line}")));
    lines.join("\n") + "\n"
}

/// What no mark stands for, in order.
fn unmarked(kind: &Kind) -> Vec<String> {
    let mut left = Vec::new();
    if kind.has_program() {
        left.push("chaos-common/src/rule.rs: a bit of `flags`, if the rule needs one");
    } else {
        left.push("chaos-userspace/src/knob: the control file, with its journal and its guard");
    }
    left.extend([
        "chaos-userspace/src/fault/mod.rs: what `covers` and `ops` say, if a mechanism can't do all \
         of it, or if it is about system calls",
        "tests whose messages list the kinds: kinds_that_are_not_there in experiment/keys.rs, \
         chaos-userspace/tests/experiment_*.rs; those name what fails",
        "tests/src/needs.rs: where in the lab it cannot be done",
        "the kind's place in lists that are in order: KINDS, with the numbers in Kind::of",
        "deploy/kchaos-agent.service: which capabilities it needs",
        "README.md: the row \"not yet; refused by name\", the targets, the table of kernels",
        "docs/architecture.md: \"Kinds\" in \"Behind the design\", and what is new in the plane",
    ]);
    let fill = |line: &&str| kind.fill(line);
    let mut left: Vec<String> = left.iter().map(fill).collect();
    let try_out = "cargo xtask build-ebpf && cargo xtask test --kernel debian-6.1 @stem@";
    left.push(kind.fill(try_out));
    left.push("cargo xtask lint, then .ci/run".to_owned());
    left
}

#[cfg(test)]
mod tests;
