//! What must hold of an account. Pure, so that it is tested without a kernel.

use serde::Serialize;

use super::account::{Account, Fault, Phase, Side, Traffic};

/// Standard deviations that a share may be off. Rarer than one run in a million.
const SIGMAS: f64 = 5.0;

/// The mechanism that has no BPF object.
const KNOB: &str = "cgroup-knob";

/// One thing that must hold.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    /// What must hold.
    pub(super) name: &'static str,
    /// Whether it does.
    pub(super) passed: bool,
    /// The numbers behind it.
    pub(super) detail: String,
}

impl Check {
    fn new(name: &'static str, passed: bool, detail: impl Into<String>) -> Self {
        Self {
            name,
            passed,
            detail: detail.into(),
        }
    }
}

/// All checks.
pub(super) fn of(account: &Account) -> Vec<Check> {
    let mut checks = vec![
        healthy("nothing failed before", account, Phase::Before),
        target_was_hit(account),
        neighbour_was_not(account),
    ];
    checks.extend(file_errors_agree(account));
    checks.extend(loss_agrees(account));
    checks.extend(account.experiment.status.faults().filter_map(share_is_kept));
    checks.extend([
        healthy("nothing failed after", account, Phase::After),
        outcome(account),
        stopped(account),
    ]);
    checks.extend(census_sees(account));
    checks.push(nothing_is_left(account));
    checks
}

fn traffic(side: &Side, phase: Phase) -> Traffic {
    side.phases.get(&phase).cloned().unwrap_or_default()
}

fn whole(side: &Side, count: impl Fn(&Traffic) -> u64) -> u64 {
    side.phases.values().map(count).sum()
}

fn healthy(name: &'static str, account: &Account, phase: Phase) -> Check {
    let sides = [&account.target, &account.neighbour].map(|side| traffic(side, phase));
    let sum = |count: fn(&Traffic) -> u64| sides.iter().map(count).sum::<u64>();
    let served = sides
        .iter()
        .all(|traffic| traffic.requests > 0 && traffic.sent > 0);
    let (errors, lost) = (sum(Traffic::errors), sum(Traffic::lost));
    Check::new(
        name,
        served && errors == 0 && lost == 0,
        format!(
            "{} requests, {errors} errors; {} datagrams, {lost} lost",
            sum(|traffic| traffic.requests),
            sum(|traffic| traffic.sent)
        ),
    )
}

fn kinds<'a>(account: &'a Account, kind: &'a str) -> impl Iterator<Item = &'a Fault> {
    let faults = account.experiment.status.faults();
    faults.filter(move |fault| fault.word.starts_with(kind))
}

fn target_was_hit(account: &Account) -> Check {
    let during = traffic(&account.target, Phase::During);
    let armed = account
        .experiment
        .status
        .faults()
        .all(|fault| fault.counters.injected > 0);
    let noticed = (kinds(account, "file.error").next().is_none() || during.errors() > 0)
        && (kinds(account, "net.loss").next().is_none() || during.lost() > 0);
    Check::new(
        "the target was hit",
        armed && noticed,
        format!(
            "during: {} errors, {} datagrams lost",
            during.errors(),
            during.lost()
        ),
    )
}

fn neighbour_was_not(account: &Account) -> Check {
    let neighbour = &account.neighbour;
    let (errors, lost) = (
        whole(neighbour, Traffic::errors),
        whole(neighbour, Traffic::lost),
    );
    let served = traffic(neighbour, Phase::During).requests > 0;
    Check::new(
        "the neighbour was not",
        served && errors == 0 && lost == 0 && neighbour.logged_failures == 0,
        format!("at any time: {errors} errors, {lost} datagrams lost"),
    )
}

/// The server opens its file once per request: the kernel, the server and the client must have
/// counted the very same number.
fn file_errors_agree(account: &Account) -> Option<Check> {
    kinds(account, "file.error").next()?;
    let injected: u64 = kinds(account, "file.error")
        .map(|fault| fault.counters.injected)
        .sum();
    let logged = account.target.logged_failures;
    let refused = whole(&account.target, |traffic| traffic.refused);
    let broken = whole(&account.target, |traffic| traffic.broken);
    Some(Check::new(
        "file errors agree exactly",
        injected == logged && injected == refused && broken == 0,
        format!(
            "kernel injected {injected}, nginx logged {logged}, client saw {refused}{}",
            if broken > 0 {
                format!(", and {broken} requests without an answer")
            } else {
                String::new()
            }
        ),
    ))
}

/// What arrived of the datagrams, against the share that was asked for.
fn loss_agrees(account: &Account) -> Option<Check> {
    let mut passing = 1.0;
    let mut faults = 0;
    for fault in kinds(account, "net.loss") {
        passing *= 1.0 - steady_share(fault)?;
        faults += 1;
    }
    let Traffic { sent, .. } = traffic(&account.target, Phase::During);
    let lost = traffic(&account.target, Phase::During).lost();
    (faults > 0).then(|| {
        within(
            "loss is as asked for",
            "datagrams",
            sent,
            lost,
            1.0 - passing,
        )
    })
}

/// What the kernel decided, against the share that was asked for.
fn share_is_kept(fault: &Fault) -> Option<Check> {
    let share = steady_share(fault)?;
    let counters = fault.counters;
    let mut check = within(
        "the kernel keeps to the share",
        "events",
        counters.matched,
        counters.injected,
        share,
    );
    check.detail = format!("{}: {}", fault.id, check.detail);
    check.passed &= counters.error == 0;
    Some(check)
}

/// The share of a fault that has one and the same for the whole of its life.
fn steady_share(fault: &Fault) -> Option<f64> {
    if fault.mechanism == KNOB {
        // A quota is no share of its periods.
        return None;
    }
    let mut parts = fault.word.split(',');
    let head = parts.next()?;
    let uneven = ["when=", "times=", "after=", "pulse=", "shadow"];
    if parts.any(|part| uneven.iter().any(|key| part.starts_with(key))) {
        return None;
    }
    let Some(number) = head.strip_suffix('%') else {
        return Some(1.0);
    };
    let start = number.rfind(['=', '@'])? + 1;
    Some(number[start..].parse::<f64>().ok()? / 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "no run counts up to 2^52")]
fn within(name: &'static str, what: &str, all: u64, hit: u64, share: f64) -> Check {
    let expected = all as f64 * share;
    let deviation = SIGMAS * (expected * (1.0 - share)).sqrt();
    Check::new(
        name,
        all > 0 && (hit as f64 - expected).abs() <= deviation + 0.5,
        format!(
            "{hit} of {all} {what}, {:.1} % (asked for {:.1} ± {:.1} %)",
            percent(hit, all),
            share * 100.0,
            100.0 * deviation / (all.max(1) as f64)
        ),
    )
}

/// A share of a whole, in percent.
#[expect(clippy::cast_precision_loss, reason = "no run counts up to 2^52")]
pub(super) fn percent(part: u64, all: u64) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

fn outcome(account: &Account) -> Check {
    let experiment = &account.experiment;
    let outcome = experiment.status.outcome.as_deref().unwrap_or("none");
    let reason = experiment.status.reason.as_deref().unwrap_or_default();
    Check::new(
        "the experiment passed",
        outcome == "passed" && experiment.exit == Some(0),
        format!("outcome {outcome} {reason}").trim_end().to_owned(),
    )
}

fn stopped(account: &Account) -> Check {
    let ends: Vec<_> = account
        .daemons
        .iter()
        .map(|daemon| format!("{}: {}", daemon.name, daemon.end))
        .collect();
    Check::new(
        "agent and scheduler stop when asked",
        account.daemons.iter().all(|daemon| daemon.clean),
        ends.join(", "),
    )
}

/// Seen while it was armed: otherwise nobody knows whether something that is left would be seen.
fn census_sees(account: &Account) -> Option<Check> {
    let bpf = |fault: &Fault| fault.mechanism != KNOB;
    if !account.experiment.status.faults().any(bpf) {
        return None;
    }
    let kinds: Vec<_> = account
        .armed
        .iter()
        .filter(|kind| kind.kind.starts_with("BPF"))
        .map(|kind| format!("{} {}", kind.names.len(), kind.kind))
        .collect();
    let seen = account
        .armed
        .iter()
        .filter(|kind| kind.kind.starts_with("BPF") && !kind.names.is_empty());
    Some(Check::new(
        "what is armed is seen in the kernel",
        !kinds.is_empty() && seen.count() == kinds.len(),
        kinds.join(", "),
    ))
}

fn nothing_is_left(account: &Account) -> Check {
    let left: usize = account.residue.iter().map(|kind| kind.names.len()).sum();
    Check::new(
        "nothing is left of it",
        left == 0 && !account.residue.is_empty(),
        format!("{left} things of {} kinds", account.residue.len()),
    )
}

#[cfg(test)]
pub(super) mod tests;
