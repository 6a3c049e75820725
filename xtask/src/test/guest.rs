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
for binary; do
    name=${binary##*/}
    echo "--- $name"
    # Cargo writes NAME-HASH.
    case ${name%-*} in
    *"$filter"*) "$binary" --test-threads=1 || status=1 ;;
    *) "$binary" --test-threads=1 "$filter" || status=1 ;;
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
const ABOUT_RUNGS: [&str; 8] = [
    "doctor",
    "file_delay",
    "file_error",
    "file_error_ops",
    "plane",
    "syscall_delay",
    "syscall_error",
    "syscall_return",
];

fn is_run(spec: &Spec, binary: &Path, long: bool) -> bool {
    // Cargo writes NAME-HASH.
    let name = binary.file_name().and_then(|name| name.to_str());
    let name = name.and_then(|name| name.rsplit_once('-'));
    long || !spec.has(lab::Profile::NoLsm)
        || name.is_none_or(|(name, _)| ABOUT_RUNGS.contains(&name))
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
        .partition(|binary| is_run(spec, binary, long));
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
    fn without_the_lsm_the_short_form_is_about_rungs() {
        let spec = |name: &str| name.parse::<Spec>().unwrap();
        let is_run = |name: &str, binary: &str, long| is_run(&spec(name), Path::new(binary), long);
        for (name, binary, long, expected) in [
            ("debian-6.12+nolsm", "/t/deps/file_error-1a", false, true),
            ("debian-6.12+nolsm", "/t/deps/net_loss-1a", false, false),
            ("debian-6.12+nolsm", "/t/deps/net_loss-1a", true, true),
            ("debian-6.12", "/t/deps/net_loss-1a", false, true),
        ] {
            assert_eq!(is_run(name, binary, long), expected, "{name} {binary}");
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
