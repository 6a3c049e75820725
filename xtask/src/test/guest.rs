//! The tests of the `tests` crate, inside the lab.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{
    DEFAULT_KERNELS,
    lanes::Say,
    libtest::{Counts, Tee},
    victims,
};
use crate::{
    lab::{self, End, Lab, STALE_CODE, Spec},
    process, project,
    setup::{self, Need, VICTIMS},
};

const PACKAGE: &str = "kchaos-tests";
/// For all tests on one kernel, beside another one: half of it is what Linux 7 takes.
const TIMEOUT: Duration = Duration::from_hours(1);
const LONG_TIMEOUT: Duration = Duration::from_hours(3);

/// Runs each test binary whatever became of the one before. One test at a time: they look at the
/// whole kernel for residue. `$1` is the filter, of binaries or of tests, the rest are the binaries.
const RUN_ALL: &str = r#"
filter=$1; shift
status=0
# What long forms measure is said.
show=${KCHAOS_LONG:+--show-output}
for binary; do
    name=${binary##*/}
    echo "--- $name"
    # Cargo writes NAME-HASH.
    case ${name%-*} in
    *"$filter"*) "$binary" --test-threads=1 $show || status=1 ;;
    *) "$binary" --test-threads=1 $show "$filter" || status=1 ;;
    esac
done
exit $status
"#;

/// A line of cargo's `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    /// Whether it has a test harness: programs that tests start have none.
    test: bool,
}

/// Builds what the guests run and fetches what they need; returns the test binaries.
pub(super) fn build(kernels: &[Spec]) -> Result<Vec<PathBuf>> {
    let mut needs: Vec<Need> = kernels
        .iter()
        .flat_map(|spec| Need::lab(spec.kernel))
        .collect();
    needs.extend(VICTIMS.iter().map(Need::Victim));
    needs.push(Need::Strace);
    setup::ensure(&needs)?;
    victims::build()?;
    process::run(
        Command::new(project::cargo())
            .args([
                "build",
                "--locked",
                "--package",
                "chaos-userspace",
                "--bins",
            ])
            .current_dir(project::root()),
    )?;
    let output = Command::new(project::cargo())
        .args([
            "test",
            "--locked",
            "--package",
            PACKAGE,
            "--no-run",
            "--message-format=json",
        ])
        .current_dir(project::root())
        .stderr(Stdio::inherit())
        .output()
        .context("build the lab tests")?;
    if !output.status.success() {
        bail!("building the lab tests failed: {}", output.status);
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

fn executables(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.profile.as_ref().is_some_and(|profile| profile.test))
        .filter_map(|message| message.executable)
        .collect()
}

/// Without the BPF LSM other rungs carry faults of files and system calls, and nothing else changes:
/// in the short form these tests alone are run then.
const ABOUT_RUNGS: [&str; 7] = [
    "doctor",
    "file_delay",
    "file_error",
    "file_error_ops",
    "syscall_delay",
    "syscall_error",
    "syscall_return",
];

/// In the short form these are run on some of the stock kernels only, and where these are locked down: what they
/// are about hardly differs from one to the next. What is not here is run on each, as is everything where cgroups
/// are of version 1. All of them have about as much to do.
const TURNS: [(&str, &[&str]); 23] = [
    ("agent", &["debian-6.1"]),
    ("bench", &["debian-6.12"]),
    ("clock_offset", &["debian-6.1"]),
    ("databases", &["debian-6.12"]),
    ("disk_full", &["debian-6.1", "debian-7"]),
    ("dns_answer", &["debian-7"]),
    ("dns_delay", &["debian-6.1"]),
    ("dns_error", &["debian-6.12"]),
    ("disk_limit", &["debian-6.1"]),
    ("disk_quota", &["debian-6.12"]),
    ("disk_readonly", &["debian-6.12"]),
    ("file_error", &["debian-6.1", "debian-7"]),
    ("fork_storm", &["debian-7"]),
    ("heal", &["debian-6.1"]),
    ("io_uring", &["debian-7"]),
    ("net_down", &["debian-7"]),
    ("net_netem", &["debian-6.12"]),
    ("pause", &["debian-7"]),
    ("plane", &["debian-6.12", "debian-7"]),
    ("pressure_cpu", &["debian-6.1"]),
    ("run", &["debian-6.1", "debian-7+lockdown"]),
    ("soak", &["debian-6.12"]),
    ("victims", &["debian-6.12"]),
];

/// Whether a file of tests has its turn where nobody has asked for it.
fn is_run(spec: &Spec, binary: &Path, long: bool) -> bool {
    // Cargo writes NAME-HASH.
    let name = binary.file_name().and_then(|name| name.to_str());
    let Some((name, _)) = name.and_then(|name| name.rsplit_once('-')) else {
        return true;
    };
    if long {
        return true;
    }
    if spec.has(lab::Profile::NoLsm) {
        return ABOUT_RUNGS.contains(&name);
    }
    let kernel = spec.to_string();
    TURNS
        .iter()
        .filter(|_| DEFAULT_KERNELS.contains(&kernel.as_str()) && !spec.has(lab::Profile::Cgroup1))
        .find(|(file, _)| *file == name)
        .is_none_or(|(_, kernels)| kernels.contains(&kernel.as_str()))
}

/// Runs all test binaries in one boot; the second value says what went wrong apart from tests. Where
/// it was the emulator, it gets one more boot, of a kind that can't have this fault.
pub(super) fn run(
    spec: &Spec,
    binaries: &[PathBuf],
    filter: Option<&str>,
    long: bool,
    say: &Say,
) -> Result<(Counts, Option<String>)> {
    let (binaries, others): (Vec<_>, Vec<_>) = binaries
        .iter()
        .cloned()
        .partition(|binary| filter.is_some() || is_run(spec, binary, long));
    for other in others {
        say.line(&format!(
            "--- {} is run here only with --long",
            other.display()
        ));
    }
    let (counts, end, console) = boot(spec, &binaries, filter, long, say, false)?;
    let result = if end.is_the_emulators(&console) {
        say.line(&format!(
            "{STALE_CODE}: {spec} is booted once more, its processors in turn (console log: {})",
            console.display()
        ));
        boot(spec, &binaries, filter, long, say, true)?
    } else {
        (counts, end, console)
    };
    Ok(judged(result, long))
}

fn boot(
    spec: &Spec,
    binaries: &[PathBuf],
    filter: Option<&str>,
    long: bool,
    say: &Say,
    in_turn: bool,
) -> Result<(Counts, End, PathBuf)> {
    let mut lab = Lab::new(spec.clone());
    if in_turn {
        lab.in_turn()?;
    }
    let (tee, reader) = Tee::new(say.writer());
    lab.stdout = Box::new(tee);
    lab.stderr = say.writer();
    lab.timeout = timeout(long);
    // As cargo has it for tests.
    lab.cwd = Some(project::root().join("tests"));
    lab.env
        .push((victims::FOLDER_VARIABLE.into(), victims::folder().into()));
    if long {
        lab.env.push(("KCHAOS_LONG".into(), "1".into()));
    }
    let mut argv: Vec<OsString> = ["sh", "-c", RUN_ALL, "sh", filter.unwrap_or("")]
        .map(OsString::from)
        .to_vec();
    argv.extend(binaries.iter().map(|path| path.clone().into_os_string()));
    let outcome = lab.run(&argv)?;
    Ok((reader.counts(), outcome.end, outcome.log))
}

const fn timeout(long: bool) -> Duration {
    if long { LONG_TIMEOUT } else { TIMEOUT }
}

fn judged((counts, end, console): (Counts, End, PathBuf), long: bool) -> (Counts, Option<String>) {
    let problem = match end {
        End::Exited(0) => None,
        End::Exited(_) if counts.failed > 0 => None,
        End::Exited(status) => Some(format!("a test binary ended without a summary ({status})")),
        End::TimedOut => Some(format!("timeout after {:.0?}", timeout(long))),
        End::Failed(failure) => Some(failure.to_string()),
    };
    let problem = problem.map(|text| format!("{text} (console log: {})", console.display()));
    (counts, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_short_form_each_file_has_its_turn() {
        let spec = |name: &str| name.parse::<Spec>().unwrap();
        let is_run = |name: &str, binary: &str, long| is_run(&spec(name), Path::new(binary), long);
        for (name, binary, long, expected) in [
            ("debian-6.12+nolsm", "/t/deps/file_error-1a", false, true),
            ("debian-6.12+nolsm", "/t/deps/net_loss-1a", false, false),
            ("debian-6.12+nolsm", "/t/deps/net_loss-1a", true, true),
            ("debian-6.12", "/t/deps/net_loss-1a", false, true),
            ("debian-7", "/t/deps/agent-1a", false, false),
            ("debian-7", "/t/deps/agent-1a", true, true),
            ("debian-7+lockdown", "/t/deps/agent-1a", false, false),
            ("debian-7+lockdown", "/t/deps/net_link-1a", false, true),
            ("debian-6.1+cgroup1", "/t/deps/agent-1a", false, true),
            ("fault-6.12", "/t/deps/agent-1a", false, true),
            ("debian-7", "/t/deps/new-1a", false, true),
        ] {
            assert_eq!(is_run(name, binary, long), expected, "{name} {binary}");
        }
    }

    #[test]
    fn every_turn_is_of_a_file_and_on_a_kernel() {
        for (name, kernels) in TURNS {
            let file = project::root().join(format!("tests/tests/{name}.rs"));
            assert!(file.exists(), "{name}");
            for kernel in kernels {
                assert!(DEFAULT_KERNELS.contains(kernel), "{name}: {kernel}");
            }
        }
        for name in ABOUT_RUNGS {
            let file = project::root().join(format!("tests/tests/{name}.rs"));
            assert!(file.exists(), "{name}");
        }
    }

    #[test]
    fn only_tests_are_taken() {
        let messages = r#"{"reason":"compiler-artifact","executable":null,"target":{}}
{"reason":"compiler-artifact","executable":"/t/debug/deps/file_error-1","profile":{"test":true}}
{"reason":"compiler-artifact","executable":"/t/debug/caller","profile":{"test":false}}
not json
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executables(messages),
            [PathBuf::from("/t/debug/deps/file_error-1")]
        );
    }
}
