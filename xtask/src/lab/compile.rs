//! Kernels that the lab builds itself, from Debian's sources and a configuration of the project's.
//!
//! The tree is kept until the kernel is complete, so that an interrupted build goes on where it was.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{prctl, signal::Signal};
use sha2::{Digest as _, Sha256};

use super::{archive::Archive, kernels::Recipe};
use crate::{cache, process};

/// How often a build says that it is alive.
const REPORT_EVERY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);
/// Digits of the configuration's hash in a directory's name.
const HASH_DIGITS: usize = 12;
/// Of the names of trees that kernels are built in.
const SUFFIX: &str = "build";
/// Lines of make's output that are shown when it fails.
const LAST_LINES: usize = 20;

/// Whether a directory of the cache, or the tree it is made in, is of this very configuration.
pub(super) fn is_of(recipe: &Recipe, key: &str) -> bool {
    key.ends_with(&hash(recipe))
}

/// Name in the cache of what a version of the sources becomes.
pub(super) fn key(recipe: &Recipe, version: &str) -> String {
    format!("fault-{version}-{}", hash(recipe))
}

fn hash(recipe: &Recipe) -> String {
    let mut digits = format!("{:x}", Sha256::digest(recipe.config));
    digits.truncate(HASH_DIGITS);
    digits
}

/// Builds the kernel and gives it the name `target`. Call it under a lock of the cache.
pub(super) fn build(
    archive: &Archive,
    recipe: &Recipe,
    version: &str,
    target: &Path,
) -> Result<()> {
    let tree = tree(target);
    remove_others(&tree)?;
    if tree.exists() {
        eprintln!("xtask: going on with an interrupted build");
    } else {
        unpack(archive, recipe, version, &tree)?;
    }
    let source = tree.join(recipe.source);
    let config = tree.join("wanted.config");
    fs::write(&config, recipe.config)?;
    let log = tree.join("make.log");
    let mut setting = "KCONFIG_ALLCONFIG=".to_owned();
    setting.push_str(&config.to_string_lossy());
    logged(&mut make(&source, &[&setting, "allnoconfig"]), &log)?;
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    logged(&mut make(&source, &[&format!("-j{jobs}"), "bzImage"]), &log)?;

    let staged = cache::Staged::new(target.to_path_buf())?;
    let into = |name: &str| staged.path().join(name);
    fs::copy(source.join(".config"), into("config"))?;
    fs::copy(source.join("arch/x86/boot/bzImage"), into("vmlinuz"))?;
    // Without what debuggers read it is a tenth of the size; types (BTF) and the entry stay.
    process::run(
        Command::new("objcopy")
            .arg("--strip-debug")
            .arg(source.join("vmlinux"))
            .arg(into("vmlinux")),
    )?;
    // There are none, and whoever collects modules need not know.
    fs::create_dir_all(into("modules/kernel"))?;
    staged.commit()?;
    fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))
}

fn tree(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(SUFFIX);
    target.with_file_name(name)
}

/// Trees of builds that nobody will go on with: gigabytes each.
fn remove_others(tree: &Path) -> Result<()> {
    let directory = tree.parent().context("the cache has no parent")?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_tree = path
            .extension()
            .is_some_and(|extension| extension == SUFFIX);
        if is_tree && path != tree {
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn unpack(archive: &Archive, recipe: &Recipe, version: &str, tree: &Path) -> Result<()> {
    let staged = cache::Staged::new(tree.to_path_buf())?;
    let deb = staged.path().join("deb");
    let package = staged.path().join("package");
    fs::create_dir(&deb)?;
    archive.download(&[(recipe.source.to_owned(), version.to_owned())], &deb)?;
    let entry = fs::read_dir(&deb)?.next().context("nothing downloaded")??;
    process::run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(entry.path())
            .arg(&package),
    )?;
    eprintln!("xtask: unpacking {} {version}", recipe.source);
    process::run(
        Command::new("tar")
            .arg("-xf")
            .arg(package.join(format!("usr/src/{}.tar.xz", recipe.source)))
            .arg("-C")
            .arg(staged.path()),
    )?;
    fs::remove_dir_all(&deb)?;
    fs::remove_dir_all(&package)?;
    staged.commit()
}

fn make(source: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("make");
    command
        .args(words)
        .current_dir(source)
        .env("LC_ALL", "C")
        // A make that started xtask hands its job server down, which is not there for this one.
        .env_remove("MAKEFLAGS");
    command
}

/// Runs a long command to its end; says now and then how far it is.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    // Two builds in one tree would spoil it, and the lock goes with xtask.
    // SAFETY: prctl is async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGTERM).map_err(io::Error::from));
    }
    let start = Instant::now();
    let mut reported = start;
    let mut child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            let text = fs::read_to_string(log).unwrap_or_default();
            eprintln!(
                "xtask: building for {:.1} min, {} steps: {}",
                start.elapsed().as_secs_f64() / 60.0,
                text.lines().count(),
                text.lines().last().unwrap_or_default().trim()
            );
        }
        thread::sleep(POLL);
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().rev().take(LAST_LINES).collect();
    lines.reverse();
    bail!(
        "{command:?} failed: {status} (all of its output: {})\n{}",
        log.display(),
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: Recipe = Recipe {
        source: "linux-source-1",
        config: "CONFIG_A=y\n",
    };

    #[test]
    fn another_configuration_is_another_kernel() {
        let key = key(&RECIPE, "1.2-3");
        assert!(key.starts_with("fault-1.2-3-"), "{key}");
        assert!(is_of(&RECIPE, &key));
        let other = Recipe {
            config: "CONFIG_A=n\n",
            ..RECIPE
        };
        assert!(!is_of(&other, &key));
    }

    #[test]
    fn a_failing_build_shows_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let shell = |script: &str| logged(Command::new("sh").args(["-c", script]), &log);
        shell("echo fine").unwrap();
        let error = shell("echo last words; exit 3").unwrap_err();
        assert!(error.to_string().contains("last words"), "{error}");
        let error = logged(&mut Command::new("/nothing/here"), &log).unwrap_err();
        assert!(
            error.to_string().contains("start \"/nothing/here\""),
            "{error}"
        );
    }
}
