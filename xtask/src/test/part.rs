//! The parts of a test run and the account of them at its end.

use std::{process::ExitCode, time::Duration};

use super::libtest::Counts;

/// One part of a test run: the host's tests, or those on one kernel.
#[derive(Debug)]
pub(crate) struct Part {
    /// What it is called in the account.
    pub(crate) name: String,
    /// What its tests came to.
    pub(crate) counts: Counts,
    /// Why its tests are not the whole story: it did not build, the kernel panicked.
    pub(crate) problem: Option<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Part {
    pub(super) fn is_good(&self) -> bool {
        self.counts.failed == 0 && self.problem.is_none()
    }
}

/// Prints what failed where, the time that each part took, and the totals on a line of their own.
/// `took` is less than the parts together where some ran at the same time.
pub(crate) fn account(parts: &[Part], took: Duration) -> ExitCode {
    println!();
    for part in parts.iter().filter(|part| !part.is_good()) {
        println!("FAILED on {}:", part.name);
        for failure in &part.counts.failures {
            println!("    {}", failure.name);
            for line in &failure.said {
                println!("        {line}");
            }
        }
        if let Some(problem) = &part.problem {
            println!("    {problem}");
        }
    }
    println!(
        "{:<24} {:>7} {:>7} {:>7} {:>8}",
        "part", "passed", "failed", "skipped", "minutes"
    );
    for part in parts {
        let Counts {
            passed,
            failed,
            skipped,
            ..
        } = part.counts;
        let minutes = minutes(part.took);
        let remark = if part.problem.is_some() {
            "  see above"
        } else {
            ""
        };
        println!(
            "{:<24} {passed:>7} {failed:>7} {skipped:>7} {minutes:>8.1}{remark}",
            part.name
        );
    }
    println!("{:<48} {:>8.1}", "all of it", minutes(took));
    let sum =
        |count: fn(&Counts) -> usize| parts.iter().map(|part| count(&part.counts)).sum::<usize>();
    println!(
        "{} passed, {} failed, {} skipped",
        sum(|counts| counts.passed),
        sum(|counts| counts.failed),
        sum(|counts| counts.skipped)
    );
    if parts.iter().all(Part::is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn minutes(took: Duration) -> f64 {
    took.as_secs_f64() / 60.0
}
