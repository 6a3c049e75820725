//! The report, as people read it.

use std::{fmt, fs};

use super::{Figures, Hit, NotHit, Spread, There};
use crate::lab;

/// Said behind a figure that is not what was promised.
const MISSED: &str = "  MISSED";

/// The kernel, its clock, and what executes its code.
pub fn heading() -> String {
    let read = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    let processor = read("/proc/cpuinfo");
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([':', '\t', ' ']));
    let clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let remark = if processor.contains("TCG") {
        "\nemulated: nanoseconds mean nothing here, only what they have to do with each other does"
    } else {
        ""
    };
    format!(
        "{}: Linux {}, processor {processor}, clock source {clock}{remark}",
        lab(),
        read("/proc/sys/kernel/osrelease"),
    )
}

impl NotHit {
    /// Whether it is what was promised.
    pub fn is_good(&self) -> bool {
        self.goal.is_none_or(|goal| self.ratio.median <= goal)
    }
}

impl Hit {
    /// Whether it is what was promised.
    pub fn is_good(&self) -> bool {
        self.cheaper.median >= self.goal
    }
}

impl Figures {
    /// Goals, and how many of them were missed.
    pub fn goals(&self) -> (usize, usize) {
        let not_hit = self.not_hit.iter().filter(|row| row.goal.is_some());
        let verdicts: Vec<bool> = not_hit
            .map(NotHit::is_good)
            .chain(self.hit.iter().map(Hit::is_good))
            .collect();
        let missed = verdicts.iter().filter(|good| !**good).count();
        (verdicts.len(), missed)
    }
}

fn verdict(is_good: bool) -> &'static str {
    if is_good { "" } else { MISSED }
}

fn between(spread: Spread, digits: usize) -> String {
    format!("{:.digits$} .. {:.digits$}", spread.low, spread.high)
}

impl fmt::Display for NotHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = match self.there {
            There::Nothing => "nothing (A/A control)".to_owned(),
            There::Empty(empty) => empty.name.to_owned(),
            There::Fault(way) => way.name(),
        };
        let goal = self.goal.map_or(String::new(), |goal| format!("{goal:.2}"));
        let line = format!(
            "  {there:<34} {:>8} {:>8.0} {:>8.2}  {:<16} {goal:>5}{}",
            self.call.name(),
            self.bare.median,
            self.ratio.median,
            between(self.ratio, 2),
            verdict(self.is_good()),
        );
        f.write_str(line.trim_end())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "a call that is not hit, in times of the same with nothing armed"
        )?;
        head(
            f,
            [
                "armed for somebody else",
                "call",
                "bare ns",
                "times",
                "at most",
            ],
        )?;
        for row in &self.not_hit {
            writeln!(f, "{row}")?;
        }
        writeln!(
            f,
            "\nan openat that is made to fail: what that adds to one that is not, and how many times \
             cheaper\nall of it is than the same by strace"
        )?;
        head(f, ["made to fail", "ns", "adds", "cheaper", "at least"])?;
        let bare = self.bare.median;
        writeln!(f, "  {:<34} {bare:>8.0}", "by nobody: it succeeds")?;
        let strace = self.by_strace.median;
        let adds = strace - bare;
        writeln!(
            f,
            "  {:<34} {strace:>8.0} {adds:>8.0}",
            "by strace --inject"
        )?;
        for row in &self.hit {
            writeln!(
                f,
                "  {:<34} {:>8.0} {:>8.0} {:>8.1}  {:<16} {:>5.0}{}",
                row.way.name(),
                row.cost.median,
                row.cost.median - bare,
                row.cheaper.median,
                between(row.cheaper, 1),
                row.goal,
                verdict(row.is_good()),
            )?;
        }
        let (goals, missed) = self.goals();
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "\n{missed} of {goals} goals missed, after {seconds:.0} s"
        )
    }
}

fn head(f: &mut fmt::Formatter<'_>, columns: [&str; 5]) -> fmt::Result {
    let [what, first, second, ratio, goal] = columns;
    let half = "half of them";
    writeln!(
        f,
        "  {what:<34} {first:>8} {second:>8} {ratio:>8}  {half:<13} {goal:>8}"
    )
}
