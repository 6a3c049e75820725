//! `cargo xtask setup`: what the project needs of the machine, whether it is there, and how to get
//! it. Other subcommands call [`ensure`] for what they need, so that nobody has to run this one.

mod apt;
mod needs;

use std::{fs, process::Command, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::needs::{Need, VICTIMS, WEB_SERVER};
use crate::{
    lab::{self, Spec},
    process, project, toolchain,
};

/// Finds what is missing on this machine and installs it
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also this kernel, if it is none of those that everybody gets: fault-6.12
    #[arg(long = "kernel", value_name = "NAME")]
    kernels: Vec<Spec>,
    /// Only report; exit status 1 if something is missing
    #[arg(long)]
    check: bool,
}

/// Runs the subcommand.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let mut needs = Need::all();
    for spec in &arguments.kernels {
        let wanted = Need::kernel(spec.kernel).into_iter();
        needs.extend(
            wanted
                .filter(|need| !needs.contains(need))
                .collect::<Vec<_>>(),
        );
    }
    let missing = needs.iter().filter(|need| !need.is_met()).count();
    if arguments.check {
        for need in &needs {
            let state = if need.is_met() { "ok" } else { "missing" };
            println!("{state:<8} {:<24} {}", need.name(), need.why());
        }
        return Ok(if missing == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let start = Instant::now();
    ensure(&needs)?;
    let kernels = needs.iter().filter_map(|need| match need {
        Need::Kernel(kernel) => Some(kernel),
        _ => None,
    });
    for kernel in kernels {
        // The archive may have a newer one by now. An offline machine keeps what it has.
        if let Err(error) = lab::fetch(kernel, true) {
            eprintln!("setup: keeping the present {}: {error:#}", kernel.name);
        }
    }
    println!(
        "setup: complete after {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

/// Installs those of the needs that are not met.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("setup: missing {}: {}", need.name(), need.why());
    }
    let mut packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages())
        .copied()
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        apt::install(&packages)?;
    }
    for need in missing {
        match need {
            Need::BpfLinker => install_bpf_linker()?,
            Need::Kernel(kernel) => lab::fetch(kernel, false)?,
            _ => (),
        }
        if !need.is_met() {
            bail!("{} is still missing after it was installed", need.name());
        }
    }
    Ok(())
}

fn install_bpf_linker() -> Result<()> {
    let root = toolchain::bpf_linker_root()?;
    let built = project::target_dir().join("bpf-linker");
    let start = Instant::now();
    eprintln!(
        "setup: building bpf-linker {} (a minute or two)",
        toolchain::BPF_LINKER_VERSION
    );
    let mut command = Command::new(project::cargo());
    command
        .args([
            "install",
            "bpf-linker",
            "--version",
            toolchain::BPF_LINKER_VERSION,
            "--locked",
        ])
        .args([
            "--no-default-features",
            "--features",
            needs::LLVM_FEATURE,
            "--force",
            "--root",
        ])
        .arg(&root)
        // An interrupted build goes on where it was.
        .env("CARGO_TARGET_DIR", &built)
        .env("LLVM_PREFIX", needs::LLVM_PREFIX)
        .env_remove("RUSTFLAGS");
    process::run(&mut command).context("install bpf-linker")?;
    // 300 MB that nothing reads again.
    fs::remove_dir_all(&built).with_context(|| format!("remove {}", built.display()))?;
    eprintln!(
        "setup: bpf-linker is there after {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
