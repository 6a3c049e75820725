//! The account as people read it, in 80 columns.

use super::{
    account::{Account, Fault, Phase, Side},
    paint::Paint,
    target::Cgroups,
    verdict::{self, Check},
};

/// Columns that a line may have.
const WIDTH: usize = 80;
/// What is shown of the time; between these, something happens at a moment that nobody knows.
const SHOWN: [(Phase, &str); 3] = [
    (Phase::Before, "before"),
    (Phase::During, "during"),
    (Phase::After, "after"),
];

/// Everything but the last line.
pub(super) fn of(account: &Account, checks: &[Check], cgroups: &Cgroups, paint: Paint) -> String {
    let mut text = format!(
        "\n{} on Linux {}, seed {}\n",
        account.experiment.status.name, account.kernel, account.experiment.status.seed
    );
    text.push_str(&format!("  target     {}\n", cgroups.target));
    text.push_str(&format!("  neighbour  {}\n\n", cgroups.neighbour));
    text.push_str(&paint.heading(
        "what they saw       requests  errors  datagrams   lost   loss   p50 ms   p99 ms",
    ));
    text.push('\n');
    text.push_str(&side("target", &account.target, paint));
    text.push_str(&side("neighbour", &account.neighbour, paint));
    text.push_str(&format!(
        "\n{}\n",
        paint.heading("evidence, counted by the kernel")
    ));
    for fault in account.experiment.status.faults() {
        text.push_str(&evidence(fault));
    }
    text.push_str(&format!(
        "\n{}\n",
        paint.heading("left behind, all stopped")
    ));
    text.push_str(&residue(account, paint));
    text.push_str(&format!("\n{}\n", paint.heading("checks")));
    for check in checks {
        text.push_str(&line_of(check, paint));
    }
    text
}

fn side(name: &str, side: &Side, paint: Paint) -> String {
    let mut text = String::new();
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
        text.push_str(&format!("{name:<10}{label:<8}{numbers}\n"));
    }
    text
}

fn evidence(fault: &Fault) -> String {
    let counters = fault.counters;
    let mut text = wrapped(&format!("  {:<10}", fault.fault), &fault.word);
    text.push_str(&wrapped(
        "            ",
        &format!(
            "considered {}, matched {}, injected {}{}",
            counters.considered,
            counters.matched,
            counters.injected,
            if counters.error > 0 {
                format!(", undecided {}", counters.error)
            } else {
                String::new()
            }
        ),
    ));
    text.push_str(&wrapped(
        "            ",
        &format!("by {} in {}", fault.mechanism, fault.target),
    ));
    for gap in &fault.not_covered {
        text.push_str(&wrapped("            not hit: ", gap));
    }
    text
}

fn residue(account: &Account, paint: Paint) -> String {
    let counts: Vec<_> = account
        .residue
        .iter()
        .map(|kind| format!("{} {}", kind.things.len(), kind.kind))
        .collect();
    let mut text = wrapped("  ", &counts.join(", "));
    for kind in &account.residue {
        for thing in &kind.things {
            text.push_str(&format!(
                "  {}\n",
                paint.bad(&format!("{}: {thing}", kind.kind))
            ));
        }
    }
    text
}

fn line_of(check: &Check, paint: Paint) -> String {
    let state = if check.passed {
        paint.good("ok  ")
    } else {
        paint.bad("FAIL")
    };
    let text = wrapped(
        &format!("  {}  {}: ", " ".repeat(4), check.name),
        &check.detail,
    );
    text.replacen(&" ".repeat(8), &format!("  {state}  "), 1)
}

/// Breaks lines between words, and continues below where the text began, but not too far right.
fn wrapped(label: &str, words: &str) -> String {
    let mut text = label.to_owned();
    let mut column = label.chars().count();
    let indent = column.min(WIDTH / 5);
    for (index, word) in words.split_whitespace().enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
    text
}
