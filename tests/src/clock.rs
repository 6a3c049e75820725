//! A program that reads clocks: `tests/victims/clock.c`.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use crate::{Said, cgroup::Cgroup};

/// Nanoseconds of an hour, as an argument.
pub const HOUR: &str = "3600000000000";

/// `CLOCK_REALTIME`
pub const REALTIME: &str = "0";
/// `CLOCK_MONOTONIC`
pub const MONOTONIC: &str = "1";
/// `CLOCK_BOOTTIME`
pub const BOOTTIME: &str = "7";

/// Where `cargo xtask test` has compiled it to, without a dynamic linker or with it.
pub fn victim(is_static: bool) -> String {
    let folder = std::env::var("KCHAOS_VICTIMS").expect("`cargo xtask test` says where they are");
    let name = if is_static { "clock-static" } else { "clock" };
    let path = Path::new(&folder).join(name);
    path.to_string_lossy().into_owned()
}

/// One that aborts when the time of day is anything but true, or an hour ahead, and runs until SIGTERM.
pub fn watch(cgroup: &Cgroup, threads: &str) -> Child {
    cgroup
        .command(&victim(false))
        .args(["check", HOUR, threads, "3600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How often it has seen the truth, and how often not.
pub fn seen(child: Child) -> (u64, u64) {
    let said = Said::from(child.wait_with_output().unwrap());
    let fields: Vec<&str> = said
        .out
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .collect();
    match (said.status, fields.as_slice()) {
        (0, ["done", truth, bent]) => (truth.parse().unwrap(), bent.parse().unwrap()),
        _ => panic!("{said:?}"),
    }
}

/// A reading, between two of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The kernel, before.
    pub before: i64,
    /// What the program was told.
    pub told: i64,
    /// The kernel, after.
    pub after: i64,
}

/// What `kchaos run` of it has read of a clock for some seconds.
pub fn readings(fault: &str, clock: &str, seconds: &str) -> Vec<Reading> {
    let victim = victim(false);
    let said = crate::kchaos(&[
        "run", "--fault", fault, "--", &victim, "model", clock, seconds,
    ]);
    assert_eq!(said.status, 0, "{said:?}");
    let line = |line: &str| {
        let numbers: Vec<i64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
        let [before, told, after] = numbers[..] else {
            panic!("{line}")
        };
        Reading {
            before,
            told,
            after,
        }
    };
    said.out.lines().map(line).collect()
}
