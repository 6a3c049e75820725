//! `cargo xtask test`: the host's tests, then those of the `tests` crate on real kernels, one boot
//! per kernel and profile.

mod coverage;
mod demonstration;
mod fresh;
mod guest;
mod host;
mod lanes;
mod libtest;
mod part;
mod selftest;
mod victims;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;

use self::{libtest::Counts, part::Part};
use crate::{build_ebpf, lab::Spec, run::DEFAULT_KERNEL};

/// Where the lab tests run if nobody says otherwise, what takes longest first: several run at a time.
const DEFAULT_KERNELS: [&str; 6] = [
    "debian-7",
    "debian-6.12",
    "debian-6.1",
    "debian-6.12+nolsm",
    "debian-7+lockdown",
    "debian-6.1+cgroup1",
];

/// Tests on the host and in the kernel lab
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --kernel and --host everything is tested: the host, and the lab on \
    its kernels and profiles. The last line of the output is `N passed, N failed, N skipped`."
)]
pub(crate) struct Arguments {
    /// Only the lab, on this kernel: debian-6.1, debian-6.12+nolsm; may be repeated
    #[arg(long = "kernel", value_name = "NAME[+PROFILE]")]
    kernels: Vec<Spec>,
    /// Only the host; with --kernel the host as well
    #[arg(long)]
    host: bool,
    /// Also the tests that take long, and the README's commands on a fresh machine (`--long fresh`:
    /// nothing but that)
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this; in the lab also all of a file whose name does
    filter: Option<String>,
}

/// Runs the subcommand.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let kernels = if arguments.kernels.is_empty() && !arguments.host {
        DEFAULT_KERNELS
            .iter()
            .map(|name| name.parse().map_err(anyhow::Error::msg))
            .collect::<Result<Vec<Spec>>>()?
    } else {
        arguments.kernels.clone()
    };
    let began = Instant::now();
    let host = arguments.host || arguments.kernels.is_empty();
    let filter = arguments.filter.as_deref();

    if filter == Some(fresh::NAME) && arguments.long {
        // It builds everything for itself, and no other test has that name.
        let part = timed("fresh machine", || fresh::run(filter));
        let took = part.took;
        return Ok(part::account(&[part], took));
    }
    let mut parts = Vec::new();
    let mut binaries = Vec::new();
    parts.push(timed("build", || {
        // Both parts test what embeds the objects.
        build_ebpf::main()?;
        if !kernels.is_empty() {
            binaries = guest::build(&kernels)?;
        }
        Ok((Counts::default(), None))
    }));
    if host {
        parts.push(timed("host", || host::run(filter)));
    }
    if !kernels.is_empty() {
        parts.push(timed("lab itself", || selftest::run(&kernels, filter)));
    }
    // As people see it, if that kernel is among them.
    let shown = kernels
        .iter()
        .find(|spec| spec.to_string() == DEFAULT_KERNEL);
    if let Some(spec) = shown.or_else(|| kernels.first()) {
        parts.push(timed("demonstration", || demonstration::run(spec, filter)));
    }
    // Without binaries the build failed, which is reported already.
    if !binaries.is_empty() {
        parts.extend(lanes::run(&kernels, |spec, say| {
            say.line(&format!("\n=== {spec}"));
            let tests = || guest::run(spec, &binaries, filter, arguments.long, say);
            measured(&spec.to_string(), tests)
        }));
    }
    coverage::write(&parts)?;
    // It takes most of an hour, and runs all of the above once more.
    if arguments.long {
        parts.push(timed("fresh machine", || fresh::run(filter)));
    }
    Ok(part::account(&parts, began.elapsed()))
}

/// Runs a part under its heading.
fn timed(name: &str, run: impl FnOnce() -> Result<(Counts, Option<String>)>) -> Part {
    println!("\n=== {name}");
    measured(name, run)
}

/// Runs a part; that it cannot be run at all must not keep the others from running.
fn measured(name: &str, run: impl FnOnce() -> Result<(Counts, Option<String>)>) -> Part {
    let start = Instant::now();
    let (counts, problem) =
        run().unwrap_or_else(|error| (Counts::default(), Some(format!("{error:#}"))));
    Part {
        name: name.to_owned(),
        counts,
        problem,
        took: start.elapsed(),
    }
}
