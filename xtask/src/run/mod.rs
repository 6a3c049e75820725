//! `cargo xtask run`: one experiment in a real kernel, on a target with a neighbour beside it.
//!
//! The guest gathers (`guest`), the host judges (`verdict`) and shows (`report`).

mod account;
mod follow;
mod guest;
mod paint;
mod report;
mod target;
mod verdict;

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result};
use serde_json::json;

pub(crate) use self::guest::{Arguments as GuestArguments, SUBCOMMAND, main as guest_main};
use self::{follow::Follower, paint::Paint, target::Cgroups};
use crate::{
    build_ebpf,
    lab::{self, End, LAB_FAILED, Lab, Outcome, STALE_CODE, Spec},
    process, project,
    setup::{self, Need, WEB_SERVER},
};

/// Between the guest's first process and its last. The shipped experiment takes half a minute.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The experiment is no good.
const BAD_INPUT: u8 = 2;

/// Where it runs if nobody says otherwise.
pub(crate) const DEFAULT_KERNEL: &str = "debian-6.1";

/// Shows a fault in a real kernel, and the neighbour unharmed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Two nginx with a client each run in cgroups of their own. The experiment is \
    carried out on one of them; what both saw before, during and after is printed, with the \
    kernel's own evidence and what is left afterwards.\n\nExit status: 0 if all checks passed, \
    1 if one failed, 2 if the experiment is no good, 124 and 125 as `cargo xtask lab` has them: \
    nothing is known then."
)]
pub(crate) struct Arguments {
    /// Kernel to boot, and how: debian-6.1, debian-6.12+nolsm
    #[arg(long, value_name = "NAME[+PROFILE]", default_value = DEFAULT_KERNEL)]
    kernel: Spec,
    /// The experiment; its target must be written as `cgroup: /PATH` [default:
    /// examples/first-experiment.yaml]
    #[arg(long, value_name = "FILE")]
    experiment: Option<PathBuf>,
    /// Print one JSON object, and progress on standard error
    #[arg(long)]
    json: bool,
    /// Aim at the neighbour instead: a check of the checks, which must fail
    #[arg(long)]
    wrong_target: bool,
}

/// Runs the subcommand. Failed checks have a status of their own, so that whoever wants to see them
/// fail does not take a lab that is broken for that.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let start = Instant::now();
    let experiment = match Experiment::read(arguments) {
        Ok(experiment) => experiment,
        Err(error) => return failed(BAD_INPUT, &error),
    };
    let carried_out = prepare(&arguments.kernel).and_then(|()| experiment.check());
    match carried_out {
        Ok(None) => (),
        Ok(Some(violations)) => return failed(BAD_INPUT, &violations),
        Err(error) => return failed(LAB_FAILED, &error),
    }
    match carry_out(arguments, &experiment, start) {
        Ok(exit) => exit,
        Err(error) => failed(LAB_FAILED, &error),
    }
}

fn failed(status: u8, error: &Error) -> ExitCode {
    eprintln!("run: {error:#}");
    ExitCode::from(status)
}

/// The experiment's file.
struct Experiment {
    file: PathBuf,
    text: String,
    cgroups: Cgroups,
}

impl Experiment {
    fn read(arguments: &Arguments) -> Result<Self> {
        let file = match &arguments.experiment {
            Some(file) => file.clone(),
            None => project::root().join("examples/first-experiment.yaml"),
        };
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let cgroups = Cgroups::of(&text).with_context(|| file.display().to_string())?;
        Ok(Self {
            file,
            text,
            cgroups,
        })
    }

    /// Has kchaos look at the file before a kernel is booted for it; what it has against it.
    fn check(&self) -> Result<Option<Error>> {
        let kchaos = project::target_dir().join("debug/kchaos");
        let output = Command::new(&kchaos)
            .arg("validate")
            .arg(&self.file)
            .output()
            .with_context(|| format!("run {}", kchaos.display()))?;
        let words = String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned();
        Ok((!output.status.success()).then(|| Error::msg(words)))
    }
}

/// Boots, follows, judges and prints.
fn carry_out(arguments: &Arguments, experiment: &Experiment, start: Instant) -> Result<ExitCode> {
    let (mut outcome, mut follower) = boot(arguments, experiment, start, false)?;
    if outcome.end.is_the_emulators(&outcome.log) {
        eprintln!(
            "lab: {STALE_CODE}: once more, the processors in turn (console log: {})",
            outcome.log.display()
        );
        (outcome, follower) = boot(arguments, experiment, start, true)?;
    }
    if !matches!(outcome.end, End::Exited(_)) {
        return Ok(ExitCode::from(lab::report(&arguments.kernel, &outcome)));
    }
    let account = follower.account()?;
    let verdict = verdict::of(&account);
    let passed = verdict.iter().all(|check| check.passed);
    let seconds = start.elapsed().as_secs_f64();
    if arguments.json {
        let result = json!({
            "passed": passed,
            "wrongTarget": arguments.wrong_target,
            "seconds": seconds,
            "checks": verdict,
            "account": account,
        });
        println!("{result}");
    } else {
        let (out, paint) = (&mut io::stdout().lock(), Paint::for_stdout());
        report::write(out, &account, &verdict, &experiment.cgroups, paint)
            .and_then(|()| last_line(out, &verdict, paint, arguments.wrong_target, seconds))
            .context("print the report")?;
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One boot; `in_turn` is slower, and knows no code that is not there any more.
fn boot(
    arguments: &Arguments,
    experiment: &Experiment,
    start: Instant,
    in_turn: bool,
) -> Result<(Outcome, Follower)> {
    let follower = Follower::new(start, arguments.json);
    follower.say(&format!("booting {}", arguments.kernel));
    let mut lab = Lab::new(arguments.kernel.clone());
    if in_turn {
        lab.in_turn()?;
    }
    lab.timeout = TIMEOUT;
    lab.stdout = Box::new(follower.clone());
    lab.stderr = Box::new(io::stderr());
    let outcome = lab.run(&command(arguments, &experiment.text)?)?;
    Ok((outcome, follower))
}

/// Gets and builds everything that the guest needs.
fn prepare(kernel: &Spec) -> Result<()> {
    let mut needs = Need::lab(kernel.kernel);
    needs.push(Need::Victim(&WEB_SERVER));
    setup::ensure(&needs)?;
    build_ebpf::build()?;
    process::run(
        Command::new(project::cargo())
            .args([
                "build",
                "--locked",
                "--package",
                "chaos-userspace",
                "--bins",
            ])
            .current_dir(project::root()),
    )
    .context("build kchaos")
}

/// What the guest executes: this program.
fn command(arguments: &Arguments, experiment: &str) -> Result<Vec<OsString>> {
    let mut command: Vec<OsString> = vec![
        env::current_exe()?.into(),
        SUBCOMMAND.into(),
        guest::DEMONSTRATE.into(),
    ];
    if arguments.wrong_target {
        command.push("--wrong-target".into());
    }
    // The text may begin with anything.
    command.extend(["--".into(), experiment.into()]);
    Ok(command)
}

fn last_line(
    out: &mut impl io::Write,
    verdict: &[verdict::Check],
    paint: Paint,
    wrong_target: bool,
    seconds: f64,
) -> io::Result<()> {
    let failed = verdict.iter().filter(|check| !check.passed).count();
    let result = if failed == 0 {
        paint.good("passed")
    } else {
        paint.bad(&format!("failed: {failed} of {} checks", verdict.len()))
    };
    let remark = match (wrong_target, failed) {
        (false, _) => "",
        (true, 0) => ", in spite of --wrong-target: the checks are blind",
        (true, _) => ", as it must with --wrong-target",
    };
    writeln!(out, "\n{result} after {seconds:.0} s{remark}")
}
