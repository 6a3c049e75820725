//! What the tests share: they run as root on a real kernel, one boot for all of them.
//!
//! `cargo xtask test` builds them, boots the kernel lab, and says where they run in `KCHAOS_LAB`.

#![deny(missing_docs)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a test that can't be set up fails"
)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't be set up fails"
)]

pub mod agent;
pub mod bench;
pub mod bpf;
pub mod calls;
pub mod cgroup;
pub mod clock;
pub mod database;
pub mod disk;
pub mod dns;
pub mod files;
pub mod inject;
pub mod kernel_log;
pub mod memory;
pub mod mounts;
pub mod needs;
pub mod netem;
pub mod network;
pub mod ring;
pub mod stress;

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The kernel and profile that the test runs on, such as `debian-6.12+nolsm`.
pub fn lab() -> String {
    std::env::var("KCHAOS_LAB").expect("these tests run in the lab: `cargo xtask test`")
}

/// Whether the machine was booted with this profile.
pub fn profile(name: &str) -> bool {
    lab().split('+').skip(1).any(|profile| profile == name)
}

/// Whether there is time for the long form.
pub fn long() -> bool {
    std::env::var_os("KCHAOS_LONG").is_some()
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Exit status; 128 and the signal's number when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let status = output.status;
        Self {
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `kchaos` to its end.
pub fn kchaos(arguments: &[&str]) -> Said {
    Command::new("kchaos")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("kchaos is on the lab's PATH")
        .into()
}

/// `kchaos run` of a shell script under faults, with the account as JSON.
pub fn run_script(faults: &[&str], script: &str) -> (Said, Value) {
    let mut arguments = vec!["run", "--json"];
    for fault in faults {
        arguments.extend(["--fault", fault]);
    }
    arguments.extend(["--", "bash", "-c", script]);
    let said = kchaos(&arguments);
    let account = said
        .err
        .lines()
        .find_map(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("no account in {said:?}"));
    (said, account)
}

/// A counter of a fault in an account.
pub fn counter(account: &Value, fault: usize, name: &str) -> u64 {
    account["faults"][fault]["counters"][name]
        .as_u64()
        .unwrap_or_else(|| panic!("no counter {name} of fault {fault} in {account}"))
}

/// A field of the first object in a report that has one of this name: of the only fault, for example.
pub fn found(report: &Value, name: &str) -> Option<u64> {
    match report {
        Value::Object(fields) => fields
            .get(name)
            .and_then(Value::as_u64)
            .or_else(|| fields.values().find_map(|value| found(value, name))),
        Value::Array(items) => items.iter().find_map(|item| found(item, name)),
        _ => None,
    }
}

/// Sends a signal to a process that the test knows to be its own.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: takes two integers.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// Processes that are registered in `/run/kchaos` as this.
pub fn registered(role: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/run/kchaos") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (found, rest) = name.split_once('-')?;
            (found == role).then(|| rest.split('-').next()?.parse().ok())?
        })
        .collect()
}

/// Waits until something holds.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
