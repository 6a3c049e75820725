//! The report, as people read it.

use std::{fmt, fs};

use super::{Call, Figures, Hit, NotHit, Spread};
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
        let way = self
            .way
            .map_or_else(|| "nothing (A/A control)".to_owned(), |way| way.name());
        let goal = self.goal.map_or(String::new(), |goal| format!("{goal:.2}"));
        let line = format!(
            "  {way:<34} {:<8} {:>8.0} {:>7.2}  {:<16} {goal:>5}{}",
            self.call.name(),
            self.bare.median,
            self.ratio.median,
            between(self.ratio, 2),
            verdict(self.is_good()),
        );
        f.write_str(line.trim_end())
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:<34} {:<8} {:>8.0} {:>7.1}  {:<16} {:>5.0}{}",
            self.way.name(),
            Call::Openat.name(),
            self.cost.median,
            self.cheaper.median,
            between(self.cheaper, 1),
            self.goal,
            verdict(self.is_good()),
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "a call that is not hit, in times of the same with nothing armed"
        )?;
        head(f, "armed for somebody else", "bare ns", "times", "at most")?;
        for row in &self.not_hit {
            writeln!(f, "{row}")?;
        }
        writeln!(
            f,
            "\nan error that is injected, and how many times cheaper it is than strace's"
        )?;
        head(f, "injected", "ns", "cheaper", "at least")?;
        for (name, cost) in [
            ("nothing (open and close succeed)", self.not_made_to_fail),
            ("strace --inject", self.by_strace),
        ] {
            writeln!(
                f,
                "  {name:<34} {:<8} {:>8.0}",
                Call::Openat.name(),
                cost.median
            )?;
        }
        for row in &self.hit {
            writeln!(f, "{row}")?;
        }
        let (goals, missed) = self.goals();
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "\n{missed} of {goals} goals missed, after {seconds:.0} s"
        )
    }
}

fn head(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    cost: &str,
    ratio: &str,
    goal: &str,
) -> fmt::Result {
    writeln!(
        f,
        "  {what:<34} {:<8} {cost:>8} {ratio:>7}  {:<14} {goal:>7}",
        "call", "half of them"
    )
}
