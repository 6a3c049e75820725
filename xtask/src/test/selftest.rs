//! The lab's own tests: what it promises about statuses, streams and failing kernels, in as few
//! boots as that takes.

use std::{
    ffi::OsString,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;

use super::libtest::Counts;
use crate::{
    lab::{self, End, Failure, Illness, Lab, Outcome, Spec},
    project,
    setup::{self, Need},
};

/// Everything that one boot can show. Its exit status says that a check in the guest failed.
const FACTS: &str = r#"
set -e
uname -r
printf '%s|' "$@"
printf 'to stderr' >&2
for kind in securityfs debugfs tracefs bpf; do
    grep -q " $kind " /proc/mounts
done
grep -qx tsc /sys/devices/system/clocksource/clocksource0/current_clocksource
test "$(cat /sys/class/net/lo/operstate)" = unknown
touch "$PROBE" /etc/kchaos-lab-probe
has() { case "$KCHAOS_LAB+" in *"+$1+"*) return 0 ;; *) return 1 ;; esac; }
if has cgroup1; then
    test -d /sys/fs/cgroup/memory
    if grep -q ' cgroup2 ' /proc/mounts; then exit 1; fi
else
    grep -q memory /sys/fs/cgroup/cgroup.subtree_control
    grep -qx 0::/lab /proc/self/cgroup
fi
lsm=yes
if has nolsm; then lsm=no; fi
case "$(cat /sys/kernel/security/lsm)," in *,bpf,*) test $lsm = yes ;; *) test $lsm = no ;; esac
lockdown=none
if has lockdown; then lockdown=confidentiality; fi
grep -Fq "[$lockdown]" /sys/kernel/security/lockdown
exit 7
"#;
/// Arguments that a shell in between would have changed.
const ODD_ARGUMENTS: [&str; 4] = ["a b", "", "'$HOME\"", "*"];

/// One check: its name, the command, how long it may take, and whether the outcome is right.
struct Check {
    name: &'static str,
    argv: Vec<OsString>,
    timeout: Duration,
    is_right: fn(&Outcome, &[u8], &[u8], &Spec) -> bool,
}

/// Boots each kernel and profile once for the facts, each kernel once for a panic; what does not
/// depend on the kernel is tried on the first one only.
pub(super) fn run(kernels: &[Spec], filter: Option<&str>) -> Result<(Counts, Option<String>)> {
    let mut counts = Counts::default();
    let mut panicked = Vec::new();
    for (index, spec) in kernels.iter().enumerate() {
        setup::ensure(&Need::lab(spec.kernel))?;
        let mut checks = vec![facts()];
        if !panicked.contains(&spec.kernel) {
            panicked.push(spec.kernel);
            checks.push(panic());
        }
        if index == 0 {
            checks.extend([killed(), timeout()]);
        }
        let name = format!("lab::options::{spec}");
        if spec.profiles.is_empty() && filter.is_none_or(|filter| name.contains(filter)) {
            let missing = lab::options_missing_from(spec.kernel, &lab::config(spec.kernel)?);
            if !missing.is_empty() {
                eprintln!("{} has none of: {}", spec.kernel.name, missing.join(", "));
            }
            println!(
                "test {name} ... {}",
                if missing.is_empty() { "ok" } else { "FAILED" }
            );
            counts.add(&name, missing.is_empty());
        }
        for check in checks {
            let name = format!("lab::{}::{spec}", check.name);
            if filter.is_some_and(|filter| !name.contains(filter)) {
                continue;
            }
            let passed = check.run(spec)?;
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            counts.add(&name, passed);
        }
    }
    Ok((counts, None))
}

fn shell(script: &str) -> Vec<OsString> {
    ["sh", "-c", script].map(OsString::from).to_vec()
}

fn facts() -> Check {
    let mut argv = shell(FACTS);
    argv.push("sh".into());
    argv.extend(ODD_ARGUMENTS.map(OsString::from));
    Check {
        name: "facts",
        argv,
        timeout: Duration::from_mins(1),
        is_right: |outcome, stdout, stderr, spec| {
            let stdout = String::from_utf8_lossy(stdout);
            let expected = format!("{}|", ODD_ARGUMENTS.join("|"));
            outcome.end == End::Exited(7)
                && stdout.starts_with(spec.kernel.prefix)
                && stdout
                    .split_once('\n')
                    .is_some_and(|(_, rest)| rest == expected)
                && stderr == b"to stderr"
                && !probe().exists()
        },
    }
}

fn killed() -> Check {
    Check {
        name: "killed",
        argv: shell("head -c 1000000 /dev/zero; kill -KILL $$"),
        timeout: Duration::from_mins(1),
        is_right: |outcome, stdout, _, _| {
            outcome.end == End::Exited(128 + 9) && stdout.len() == 1_000_000
        },
    }
}

fn timeout() -> Check {
    Check {
        name: "timeout",
        argv: ["sleep", "1000"].map(OsString::from).to_vec(),
        timeout: Duration::from_secs(2),
        is_right: |outcome, _, _, _| outcome.end == End::TimedOut,
    }
}

fn panic() -> Check {
    Check {
        name: "panic",
        argv: shell("echo c > /proc/sysrq-trigger"),
        timeout: Duration::from_mins(1),
        is_right: |outcome, _, _, _| {
            matches!(outcome.end, End::Failed(Failure::Kernel(Illness::Panic, _)))
        },
    }
}

/// A file that the guest creates and the host must not get.
fn probe() -> std::path::PathBuf {
    project::root().join(format!("kchaos-lab-probe-{}", std::process::id()))
}

impl Check {
    fn run(&self, spec: &Spec) -> Result<bool> {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let mut lab = Lab::new(spec.clone());
        lab.timeout = self.timeout;
        lab.stdout = Box::new(stdout.clone());
        lab.stderr = Box::new(stderr.clone());
        lab.env.push(("PROBE".into(), probe().into()));
        let outcome = lab.run(&self.argv)?;
        let (stdout, stderr) = (stdout.take(), stderr.take());
        let right = (self.is_right)(&outcome, &stdout, &stderr, spec);
        if !right {
            eprintln!("{outcome:?}");
            eprintln!(
                "stdout: {}",
                String::from_utf8_lossy(&stdout[..stdout.len().min(2000)])
            );
            eprintln!(
                "stderr: {}",
                String::from_utf8_lossy(&stderr[..stderr.len().min(2000)])
            );
        }
        Ok(right)
    }
}

/// Output that is looked at afterwards.
#[derive(Clone, Debug, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
