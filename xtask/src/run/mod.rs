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

use anyhow::{Context as _, Result, bail};
use serde_json::json;

pub(crate) use self::guest::{Arguments as GuestArguments, SUBCOMMAND, main as guest_main};
use self::{account::Account, follow::Follower, paint::Paint, target::Cgroups};
use crate::{
    build_ebpf,
    lab::{self, End, Lab, Spec},
    process, project,
    setup::{self, Need, VICTIMS},
};

/// Between the guest's first process and its last. The shipped experiment takes half a minute.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Shows a fault in a real kernel, and the neighbour unharmed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Two nginx with a client each run in cgroups of their own. The experiment is \
    carried out on one of them; what both saw before, during and after is printed, with the \
    kernel's own evidence and what is left afterwards.\n\nExit status: 0 if all checks passed, \
    1 if one failed, 125 when the lab failed."
)]
pub(crate) struct Arguments {
    /// Kernel to boot, and how: debian-6.1, debian-6.12+nolsm
    #[arg(long, value_name = "NAME[+PROFILE]", default_value = "debian-6.1")]
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

/// Runs the subcommand.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let start = Instant::now();
    let file = match &arguments.experiment {
        Some(file) => file.clone(),
        None => project::root().join("examples/first-experiment.yaml"),
    };
    let experiment =
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let cgroups = Cgroups::of(&experiment).with_context(|| file.display().to_string())?;
    prepare(&arguments.kernel)?;
    check(&file)?;

    let follower = Follower::new(start, arguments.json);
    follower.say(&format!("booting {}", arguments.kernel));
    let mut lab = Lab::new(arguments.kernel.clone());
    lab.timeout = TIMEOUT;
    lab.cwd = Some(project::root());
    lab.stdout = Box::new(follower.clone());
    lab.stderr = Box::new(io::stderr());
    let outcome = lab.run(&command(arguments, experiment)?)?;
    if outcome.end != End::Exited(0) {
        // With a status of its own: nothing is known about the experiment.
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
        print_report(&account, &verdict, arguments, &cgroups, seconds);
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Gets and builds everything that the guest needs.
fn prepare(kernel: &Spec) -> Result<()> {
    let mut needs: Vec<Need> = Need::lab(kernel.kernel).into();
    needs.extend(VICTIMS.iter().map(Need::Victim));
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

/// Has kchaos look at the file before a kernel is booted for it.
fn check(file: &std::path::Path) -> Result<()> {
    let kchaos = project::target_dir().join("debug/kchaos");
    let output = Command::new(&kchaos).arg("validate").arg(file).output();
    let output = output.with_context(|| format!("run {}", kchaos.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

/// What the guest executes: this program.
fn command(arguments: &Arguments, experiment: String) -> Result<Vec<OsString>> {
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

fn print_report(
    account: &Account,
    verdict: &[verdict::Check],
    arguments: &Arguments,
    cgroups: &Cgroups,
    seconds: f64,
) {
    let paint = Paint::for_stdout();
    print!("{}", report::of(account, verdict, cgroups, paint));
    let failed = verdict.iter().filter(|check| !check.passed).count();
    let mut last = if failed == 0 {
        paint.good("passed")
    } else {
        paint.bad(&format!("failed: {failed} of {} checks", verdict.len()))
    };
    if arguments.wrong_target {
        last.push_str(if failed == 0 {
            ", although --wrong-target has it aim at the neighbour: the checks are blind"
        } else {
            ", as it must: --wrong-target has it aim at the neighbour"
        });
    }
    println!("\n{last} ({seconds:.0} s)");
}
