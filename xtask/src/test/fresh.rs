//! What the README says, typed on a machine that has nothing: a new Debian in a directory, with
//! mounts and processes of its own, and the project's last commit.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::libtest::Counts;
use crate::{
    cache, lab, process, project,
    setup::{self, Need},
};

/// The filter that selects this part alone.
pub(super) const NAME: &str = "fresh";
const SUITE: &str = "bookworm";
/// Where trusted certificates are, in one file.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// The README's section, and how its commands begin, in this order.
const SECTION: &str = "## Two commands";
const COMMANDS: [&str; 3] = ["apt-get update", "cargo xtask run", "cargo xtask test"];
/// From nothing to the first demonstration, and once more with everything there.
const FIRST_RUN: Duration = Duration::from_mins(15);
const SECOND_RUN: Duration = Duration::from_secs(90);
/// For what has no bound of its own.
const PATIENCE: Duration = Duration::from_hours(3);

/// Runs in namespaces of its own, so that all of it goes with the last process. `$1` is the root,
/// `$2` the repository, `$3` what is typed.
const ENTER: &str = r#"
set -eu
mount --bind -o ro "$2" "$1/src"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
exec env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$1" bash -euc "cd /root; if [ -d kchaos ]; then cd kchaos; fi; $3"
"#;

/// Runs the part; its tests are called `fresh::…`.
pub(super) fn run(filter: Option<&str>) -> Result<(Counts, Option<String>)> {
    let mut counts = Counts::default();
    if filter.is_some_and(|filter| !NAME.contains(filter)) {
        return Ok((counts, None));
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("a fresh machine can be made by root only: run it with sudo");
    }
    setup::ensure(&[Need::Debootstrap])?;
    let readme = fs::read_to_string(project::root().join("README.md"))?;
    let [install, run, test] = commands(&readme)?;
    let machine = Machine::new()?;
    let typed: [(&str, &str, Duration); 4] = [
        ("the_toolchain_is_installed", &install, PATIENCE),
        ("the_first_run_passes", &run, FIRST_RUN),
        ("the_second_run_is_quick", &run, SECOND_RUN),
        ("all_tests_pass", &test, PATIENCE),
    ];
    for (index, (name, command, bound)) in typed.into_iter().enumerate() {
        let name = format!("{NAME}::{name}");
        println!("--- {command}");
        let start = Instant::now();
        let succeeded = machine.types(command)?;
        let took = start.elapsed();
        let passed = succeeded && took <= bound;
        println!(
            "test {name} ... {} after {:.0} s (bound {:.0} s)",
            if passed { "ok" } else { "FAILED" },
            took.as_secs_f64(),
            bound.as_secs_f64()
        );
        counts.add(&name, passed);
        if index == 0 {
            if !passed {
                return Ok((counts, Some("nothing else could be tried".to_owned())));
            }
            machine.clone_project()?;
        }
    }
    Ok((counts, None))
}

/// The commands of the README's section, as they stand in its code blocks.
fn commands(readme: &str) -> Result<[String; COMMANDS.len()]> {
    let section = readme
        .split_once(SECTION)
        .map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest))
        .with_context(|| format!("README.md has no section {SECTION:?}"))?;
    let mut blocks: Vec<String> = section
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split_once("\n```"))
        .map(|(block, _)| block.trim().to_owned())
        .collect();
    let as_known = blocks.len() == COMMANDS.len()
        && blocks
            .iter()
            .zip(COMMANDS)
            .all(|(block, begin)| block.starts_with(begin));
    if !as_known {
        bail!("the code blocks of {SECTION:?} in README.md are {blocks:?}, not {COMMANDS:?}");
    }
    Ok(std::array::from_fn(|_| blocks.remove(0)))
}

/// A new Debian in a directory, which goes with the value.
#[derive(Debug)]
struct Machine {
    root: PathBuf,
    repository: PathBuf,
    _lock: cache::Lock,
}

impl Machine {
    fn new() -> Result<Self> {
        let lock = cache::lock(NAME)?;
        let root = project::target_dir().join(NAME);
        let common = process::output(
            Command::new("git")
                .args(["rev-parse", "--path-format=absolute", "--git-common-dir"])
                .current_dir(project::root()),
        )
        .context("find the repository")?;
        let machine = Self {
            root,
            repository: PathBuf::from(common.trim()),
            _lock: lock,
        };
        // What an interrupted run left.
        machine.remove()?;
        let mirror = lab::mirror()?;
        println!("--- debootstrap {SUITE}");
        let log = project::target_dir().join("fresh-debootstrap.log");
        process::run(
            Command::new("debootstrap")
                .args(["--variant=minbase", SUITE])
                .arg(&machine.root)
                .arg(&mirror.main)
                .stdout(fs::File::create(&log)?),
        )
        .with_context(|| format!("make a Debian (output: {})", log.display()))?;
        let mut sources = format!("deb {} {SUITE} main\n", mirror.main);
        if let Some(security) = mirror.security {
            writeln!(sources, "deb {security} {SUITE}-security main")?;
        }
        machine.write("etc/apt/sources.list", &sources)?;
        machine.write("etc/apt/apt.conf.d/99mirror", &lab::reach()?)?;
        for name in ["etc/resolv.conf", "etc/hosts"] {
            fs::copy(Path::new("/").join(name), machine.root.join(name))
                .with_context(|| format!("copy /{name}"))?;
        }
        fs::create_dir_all(machine.root.join("src"))?;
        Ok(machine)
    }

    fn write(&self, name: &str, contents: &str) -> Result<()> {
        let path = self.root.join(name);
        fs::write(&path, contents).with_context(|| format!("write {}", path.display()))
    }

    /// The last commit, where commands are typed from then on. That the machine may trust
    /// authorities of its own is nothing that the project could know.
    fn clone_project(&self) -> Result<()> {
        let certificates = Path::new("/").join(CERTIFICATES);
        if certificates.exists() {
            fs::copy(&certificates, self.root.join(CERTIFICATES)).context("copy certificates")?;
        }
        let head = process::output(
            Command::new("git")
                .args(["rev-parse", "HEAD"])
                .current_dir(project::root()),
        )?;
        let head = head.trim();
        let clone = format!(
            "git clone -q --no-checkout /src kchaos; git -C kchaos checkout -q --detach {head}"
        );
        if !self.types(&clone)? {
            bail!("the project could not be cloned");
        }
        Ok(())
    }

    /// Runs a command of a shell on the machine; returns whether it succeeded.
    fn types(&self, command: &str) -> Result<bool> {
        io::stdout().flush()?;
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", ENTER, "sh"])
            .arg(&self.root)
            .arg(&self.repository)
            .arg(command)
            .stdin(Stdio::null())
            .status()
            .context("enter the fresh machine")?;
        Ok(status.success())
    }
}

impl Machine {
    fn remove(&self) -> Result<()> {
        // Its mounts are in a namespace that is gone. If one were here all the same, removing what
        // is below it would remove the machine's own devices.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = self.root.display();
        if mounts.is_empty() || mounts.contains(&format!(" {root}/")) {
            bail!("{root} stays, because something is mounted there");
        }
        if self.root.exists() {
            fs::remove_dir_all(&self.root).with_context(|| format!("remove {root}"))?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("xtask: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_says_what_is_typed() {
        let readme = fs::read_to_string(project::root().join("README.md")).unwrap();
        let [install, run, test] = commands(&readme).unwrap();
        assert!(install.contains("cargo-web"), "{install}");
        assert_eq!((run.as_str(), test.as_str()), (COMMANDS[1], COMMANDS[2]));
    }

    #[test]
    fn another_set_of_commands_is_refused() {
        let text = "## Two commands\n```sh\napt-get update\n```\n```sh\ncargo run\n```\n## More\n";
        assert!(commands(text).is_err());
        assert!(commands("nothing").is_err());
    }
}
