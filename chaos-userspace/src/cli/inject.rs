//! `kchaos inject`

use std::{
    collections::HashMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{account, client::CliError, replay::ReplayArgs, trail, words};
use crate::{
    experiment::{Complete, Experiment, parse_duration, yaml},
    heal,
    node::{Node, NodeControl as _, NodeError, Plan, PlanStatus, Settings},
    run::signals,
    scheduler::ExitClass,
    state::{FORBIDDEN, Role, StateDir},
    target::CgroupTree,
};

/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(50);
/// How often evidence is printed.
const REPORT: Duration = Duration::from_secs(1);

/// Injects faults into something that runs already
///
/// Stays in the foreground, prints the evidence each second, and ends everything when the duration
/// is over or on Ctrl-C. Exit status: 0 every fault hit, 4 a fault hit nothing or was ended early.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  kchaos inject --target unit=nginx.service --fault 'file.error:open=EMFILE@10%' --duration 1m")]
pub(super) struct InjectArgs {
    /// What is hit: cgroup=/PATH, unit=NAME or pid=N; several cgroups are hit as one
    #[arg(long = "target", value_name = "TARGET", required = true)]
    targets: Vec<String>,
    #[command(flatten)]
    faults: words::FaultArgs,
    #[command(flatten)]
    replay: ReplayArgs,
    /// How long, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Seed of the faults that have none of their own
    #[arg(long, value_name = "N", value_parser = words::seed)]
    seed: Option<u64>,
    /// Inject nothing, print the same as the file of an experiment
    #[arg(long, value_name = "FORM")]
    print: Option<Form>,
    /// Print JSON, one line each second
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// The file of an experiment
    Yaml,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|bad| bad.to_string())
}

pub(super) fn inject(args: &InjectArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let mut experiment = Experiment {
        name: "inject".to_owned(),
        target: Some(words::target(&args.targets)?),
        duration: Some(args.duration),
        seed: args
            .seed
            .or_else(|| args.print.is_none().then(super::run::draw_seed)),
        faults: args.faults.read(false)?,
        checks: Vec::new(),
    };
    args.replay.give(&mut experiment.faults)?;
    experiment
        .validate(Complete::File)
        .map_err(|violations| CliError::invalid("this", &violations))?;
    if args.print.is_some() {
        write!(out, "{}", yaml::format(&experiment))?;
        return Ok(0);
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in signals::heeded([SIGHUP, SIGINT, SIGTERM]) {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let settings = Settings::default();
    let state = settings.state.clone();
    let _registered = state.register(Role::Inject)?;
    if let Ok(tree) = CgroupTree::find() {
        heal::sweep(&tree, &state);
    }
    let mut node = Node::new(settings).map_err(|error| refused(&error))?;
    node.stay_guarded();
    let plan = Plan {
        id: "inject".to_owned(),
        experiment,
    };
    let armed = node.apply(&plan).map_err(|error| refused(&error))?;
    if !args.json {
        write_armed(&armed, out)?;
    }
    let followed = follow(args, &mut node, &plan.id, &interrupted, &state, out);
    // Whatever went wrong with printing, the faults end here.
    let last = node.stop(&plan.id).map_err(|error| refused(&error))?;
    let ended = followed?;
    if args.json {
        writeln!(
            out,
            "{}",
            json!({"phase": "ended", "faults": account::json(&last, true)})
        )?;
    } else {
        for fault in &last.faults {
            writeln!(out, "ended  {}", account::line(fault))?;
        }
        if let End::Early(why) = &ended {
            writeln!(out, "ended early: {why}")?;
        }
    }
    let every_fault_hit = last.faults.iter().all(|fault| account::hit(fault.counters));
    Ok(if matches!(ended, End::OnTime) && every_fault_hit {
        0
    } else {
        4
    })
}

enum End {
    OnTime,
    Early(String),
}

fn follow(
    args: &InjectArgs,
    node: &mut Node,
    id: &str,
    interrupted: &AtomicBool,
    state: &StateDir,
    out: &mut impl Write,
) -> Result<End, CliError> {
    let start = Instant::now();
    let mut next = start + REPORT;
    let mut told = HashMap::new();
    loop {
        let status = node.status(id).map_err(|error| refused(&error))?;
        if !args.json {
            write_stacks(&status, &mut told, out)?;
        }
        if interrupted.load(Ordering::Relaxed) {
            return Ok(End::Early("interrupted".to_owned()));
        }
        if state.disabled().is_some() {
            return Ok(End::Early(FORBIDDEN.to_owned()));
        }
        if status.faults.iter().all(|fault| fault.remaining.is_zero()) {
            return Ok(End::OnTime);
        }
        let ended: Option<Vec<_>> = status.faults.iter().map(|it| it.ended.clone()).collect();
        if let Some(mut reasons) = ended {
            reasons.dedup();
            return Ok(End::Early(reasons.join("; ")));
        }
        if Instant::now() >= next {
            next += REPORT;
            report(args, &status, start, out)?;
        }
        thread::sleep(TICK);
    }
}

/// The injections that have come since the last look, of faults whose stacks are asked for. `told` is
/// how many had been sampled of each then.
fn write_stacks(
    status: &PlanStatus,
    told: &mut HashMap<String, u64>,
    out: &mut impl Write,
) -> Result<(), CliError> {
    for fault in &status.faults {
        let before = told
            .insert(fault.fault.clone(), fault.trail.sampled)
            .unwrap_or(0);
        let new = trail::since(&fault.trail, before).iter();
        for sample in new.filter(|sample| !sample.stack.is_empty()) {
            trail::write(out, "       ", sample)?;
        }
    }
    Ok(())
}

fn report(
    args: &InjectArgs,
    status: &PlanStatus,
    start: Instant,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let seconds = start.elapsed().as_secs();
    if args.json {
        let line =
            json!({"phase": "armed", "seconds": seconds, "faults": account::json(status, false)});
        writeln!(out, "{line}")?;
    } else {
        for fault in &status.faults {
            writeln!(
                out,
                "{seconds:>4}s  {}: {}",
                fault.fault,
                account::numbers(fault)
            )?;
        }
    }
    out.flush()?;
    Ok(())
}

fn write_armed(armed: &PlanStatus, out: &mut impl Write) -> Result<(), CliError> {
    for fault in &armed.faults {
        writeln!(
            out,
            "armed  {} on {} by {}",
            fault.word, fault.target, fault.mechanism
        )?;
        for row in &fault.not_covered {
            writeln!(out, "       not covered: {row}")?;
        }
    }
    out.flush()?;
    Ok(())
}

fn refused(error: &NodeError) -> CliError {
    let class = match error {
        NodeError::BadPlan { .. } => ExitClass::BadInput,
        NodeError::Unsupported(_) => ExitClass::Unsupported,
        NodeError::UnknownPlan(_) | NodeError::Kernel(_) => ExitClass::Failed,
    };
    CliError::new(class, error.to_string())
}
