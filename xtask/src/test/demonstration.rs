//! `cargo xtask run` as a user types it, and its own check: aimed at the neighbour, it must fail.

use std::{
    env,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::libtest::Counts;
use crate::lab::Spec;

/// Name, what is typed besides the kernel, and the exit status. That of failed checks is 1; when
/// the lab breaks, it is another one.
const TESTS: [(&str, &[&str], i32); 2] = [
    ("passes", &[], 0),
    ("notices_a_wrong_target", &["--wrong-target"], 1),
];

/// Runs both on one kernel.
pub(super) fn run(spec: &Spec, filter: Option<&str>) -> Result<(Counts, Option<String>)> {
    let mut counts = Counts::default();
    for (name, arguments, expected) in TESTS {
        let name = format!("run::{name}::{spec}");
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let output = Command::new(env::current_exe()?)
            .args(["run", "--kernel", &spec.to_string()])
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .context("run the demonstration")?;
        let passed = output.status.code() == Some(expected);
        if !passed {
            eprintln!("{}", String::from_utf8_lossy(&output.stdout));
            eprintln!("{}, not {expected}", output.status);
        }
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        counts.add(&name, passed);
    }
    Ok((counts, None))
}
