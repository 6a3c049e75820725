//! The account as people read it, in 80 columns.

use std::io::{self, Write};

use super::{
    account::{Account, Fault, Phase, Side},
    paint::Paint,
    target::Cgroups,
    verdict::{self, Check},
};

/// Columns that a line may have.
const WIDTH: usize = 80;
/// Where evidence stands.
const INDENT: &str = "            ";
/// What is shown of the time; between these, something happens at a moment that nobody knows.
const SHOWN: [(Phase, &str); 3] = [
    (Phase::Before, "before"),
    (Phase::During, "during"),
    (Phase::After, "after"),
];

/// Everything but the last line.
pub(super) fn write(
    out: &mut impl Write,
    account: &Account,
    checks: &[Check],
    cgroups: &Cgroups,
    paint: Paint,
) -> io::Result<()> {
    let status = &account.experiment.status;
    writeln!(
        out,
        "\n{} on Linux {}, seed {}",
        status.name, account.kernel, status.seed
    )?;
    writeln!(out, "  target     {}", cgroups.target)?;
    writeln!(out, "  neighbour  {}\n", cgroups.neighbour)?;
    let columns = "what they saw       requests  errors  datagrams   lost   loss   p50 ms   p99 ms";
    writeln!(out, "{}", paint.heading(columns))?;
    side(out, "target", &account.target, paint)?;
    side(out, "neighbour", &account.neighbour, paint)?;
    let title = paint.heading("evidence, counted by the kernel");
    writeln!(out, "\n{title}")?;
    for fault in status.faults() {
        evidence(out, fault)?;
    }
    let title = paint.heading("not there before          while armed  left");
    writeln!(out, "\n{title}")?;
    residue(out, account, paint)?;
    writeln!(out, "\n{}", paint.heading("checks"))?;
    for check in checks {
        let state = if check.passed {
            paint.good("ok  ")
        } else {
            paint.bad("FAIL")
        };
        write!(out, "  {state}  ")?;
        wrapped(out, 8, &format!("{}: ", check.name), &check.detail)?;
    }
    Ok(())
}

fn side(out: &mut impl Write, name: &str, side: &Side, paint: Paint) -> io::Result<()> {
    for (index, (phase, label)) in SHOWN.iter().enumerate() {
        let traffic = side.phases.get(phase).cloned().unwrap_or_default();
        let name = if index == 0 { name } else { "" };
        let milliseconds = |value: Option<f64>| {
            value.map_or_else(|| format!("{:>8}", "-"), |value| format!("{value:>8.1}"))
        };
        let numbers = format!(
            "{:>10}  {:>6}  {:>9} {:>6} {:>5.1}% {} {}",
            traffic.requests,
            traffic.errors(),
            traffic.sent,
            traffic.lost(),
            verdict::percent(traffic.lost(), traffic.sent),
            milliseconds(traffic.latency.map(|latency| latency.p50)),
            milliseconds(traffic.latency.map(|latency| latency.p99)),
        );
        let hurt = traffic.errors() + traffic.lost() > 0;
        let numbers = if hurt { paint.bad(&numbers) } else { numbers };
        writeln!(out, "{name:<10}{label:<8}{numbers}")?;
    }
    Ok(())
}

fn evidence(out: &mut impl Write, fault: &Fault) -> io::Result<()> {
    let counters = fault.counters;
    wrapped(out, 0, &format!("  {:<10}", fault.id), &fault.word)?;
    let undecided = if counters.error > 0 {
        format!(", undecided {}", counters.error)
    } else {
        String::new()
    };
    let numbers = format!(
        "considered {}, matched {}, injected {}{undecided}",
        counters.considered, counters.matched, counters.injected
    );
    wrapped(out, 0, INDENT, &numbers)?;
    let how = format!("by {} in {}", fault.mechanism, fault.target);
    wrapped(out, 0, INDENT, &how)?;
    for gap in &fault.not_covered {
        wrapped(out, 0, &format!("{INDENT}not hit: "), gap)?;
    }
    Ok(())
}

fn residue(out: &mut impl Write, account: &Account, paint: Paint) -> io::Result<()> {
    for kind in &account.residue {
        let armed = account.armed.iter().find(|armed| armed.kind == kind.kind);
        let armed = armed.map_or(0, |armed| armed.names.len());
        let left = format!("{:>6}", kind.names.len());
        let left = if kind.names.is_empty() {
            left
        } else {
            paint.bad(&left)
        };
        writeln!(out, "  {:<24}{armed:>12}{left}", kind.kind)?;
        for name in &kind.names {
            writeln!(out, "    {}", paint.bad(name))?;
        }
    }
    Ok(())
}

/// Breaks lines between words, and continues below where the text began, but not too far right.
/// `column` is how much of the line is written already.
fn wrapped(out: &mut impl Write, column: usize, label: &str, words: &str) -> io::Result<()> {
    write!(out, "{label}")?;
    let mut column = column + label.chars().count();
    let indent = column.min(INDENT.len());
    for (index, word) in words.split_whitespace().enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > WIDTH {
            write!(out, "\n{:indent$}", "")?;
            column = indent;
        } else if index > 0 {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += width;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::verdict::tests::good;

    #[test]
    fn a_report_fits_80_columns_and_has_no_colour_unless_asked() {
        let account = good();
        let cgroups = Cgroups {
            target: account.target.cgroup.clone(),
            neighbour: account.neighbour.cgroup.clone(),
        };
        let mut out = Vec::new();
        let checks = verdict::of(&account);
        write(&mut out, &account, &checks, &cgroups, Paint::NONE).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(!text.contains('\x1b') && !text.contains("FAIL"), "{text}");
    }
}
