//! The kernel lab: boots a kernel with the machine's own files and runs one command in it.

mod accel;
mod archive;
mod cli;
mod compile;
mod console;
mod image;
mod init;
mod initramfs;
mod kernels;
mod modules;
mod options;
mod qemu;
mod request;
mod session;
mod store;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io, mem,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use self::{
    accel::Accel,
    initramfs::Initramfs,
    qemu::Machine,
    request::{REQUEST_PATH, Request},
    session::{Limits, Output, Session},
    store::Stored,
};
pub(crate) use self::{
    archive::{mirror, reach},
    cli::{Arguments, LAB_FAILED, main, report},
    console::STALE_CODE,
    kernels::{KERNELS, Kernel, Profile, Spec},
    options::missing_from as options_missing_from,
    qemu::PROGRAM as QEMU,
    session::{End, Failure, Illness, Sink, Timing},
    store::{config, fetch, is_present},
};
use crate::{cache, project};

/// From QEMU's start to the command's start on a machine that does a lot of other things as well.
const BOOT_PATIENCE: Duration = Duration::from_mins(2);
/// If the caller names no other.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);
/// Console logs that are kept.
const KEPT_LOGS: usize = 40;
/// The kernel's 9p client takes no more than this over virtio.
const MSIZE: u32 = 512_000;

/// Variables of the caller that commands in the lab see; the rest of the environment says how
/// somebody's shell is set up, and has no place in a test.
const PASSED_ON: [&str; 5] = ["HOME", "LANG", "TERM", "TZ", "USER"];
const PASSED_ON_PREFIXES: [&str; 5] = ["KCHAOS_", "CARGO_", "RUST_", "RUSTUP_", "LC_"];

/// One boot to be.
pub(crate) struct Lab {
    /// Kernel and profiles.
    pub(crate) spec: Spec,
    /// For the command, from its start.
    pub(crate) timeout: Duration,
    /// Variables on top of what the caller's environment passes on.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Where it runs, if not where the caller is.
    pub(crate) cwd: Option<PathBuf>,
    /// Where the command's standard output goes.
    pub(crate) stdout: Sink,
    /// Where the command's standard error goes.
    pub(crate) stderr: Sink,
    accel: Option<Accel>,
    boot_patience: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) end: End,
    /// When what happened.
    pub(crate) timing: Timing,
    /// What the guest's kernel and init said.
    pub(crate) log: PathBuf,
}

impl Outcome {
    /// Whether the emulator ended it before the command was there.
    fn is_stillborn(&self) -> bool {
        self.timing.ready.is_none() && self.end.is_the_emulators(&self.log)
    }
}

impl Lab {
    /// A boot whose command's output is discarded; change the fields for anything else.
    pub(crate) fn new(spec: Spec) -> Self {
        Self {
            spec,
            timeout: DEFAULT_TIMEOUT,
            env: Vec::new(),
            cwd: None,
            stdout: Box::new(io::sink()),
            stderr: Box::new(io::sink()),
            accel: None,
            boot_patience: BOOT_PATIENCE,
        }
    }

    /// Has the emulator run the processors in turn, if there is no KVM.
    ///
    /// # Errors
    /// It can't be found out whether there is.
    pub(crate) fn in_turn(&mut self) -> Result<()> {
        if accel::choose(&self.spec)? == Accel::Tcg {
            self.accel = Some(Accel::TcgInTurn);
        }
        Ok(())
    }

    /// Boots, runs the command, and ends the guest. The kernel must be in the cache, QEMU be
    /// installed: see `setup::ensure`. Where the emulator ended the guest before the command
    /// was there, it gets one more boot, of a kind that can't have this fault.
    pub(crate) fn run(mut self, argv: &[OsString]) -> Result<Outcome> {
        let accel = match self.accel {
            Some(accel) => accel,
            None => accel::choose(&self.spec)?,
        };
        let stored = store::open(self.spec.kernel)?;
        let mut machine = Machine {
            image: &stored.image,
            initramfs: self.initramfs(&stored, argv)?,
            command_line: self.command_line(&stored),
            accel,
            cpus: 2,
            memory: 2048,
        };
        let output = self.output();
        let (outcome, unused) = self.boot(&machine, output)?;
        if machine.accel != Accel::Tcg || !outcome.is_stillborn() {
            return Ok(outcome);
        }
        eprintln!(
            "lab: {STALE_CODE}: {} is booted once more, its processors in turn (console log: {})",
            self.spec,
            outcome.log.display()
        );
        machine.accel = Accel::TcgInTurn;
        Ok(self.boot(&machine, unused)?.0)
    }

    fn output(&mut self) -> Output {
        Output {
            stdout: mem::replace(&mut self.stdout, Box::new(io::sink())),
            stderr: mem::replace(&mut self.stderr, Box::new(io::sink())),
        }
    }

    fn boot(&self, machine: &Machine<'_>, output: Output) -> Result<(Outcome, Output)> {
        let (log, path) = open_log(&self.spec)?;
        let session = Session::new(machine.start(&log)?, log, output)?;
        let limits = Limits {
            boot: self.boot_patience,
            command: self.timeout,
        };
        let (end, timing, output) = session.follow(limits)?;
        let outcome = Outcome {
            end,
            timing,
            log: path,
        };
        Ok((outcome, output))
    }

    fn command_line(&self, stored: &Stored) -> String {
        let mut lsm: Vec<&str> = stored
            .lsm
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "bpf")
            .collect();
        if !self.spec.has(Profile::NoLsm) {
            lsm.push("bpf");
        }
        // panic=-1 restarts at once, which -no-reboot turns into QEMU's end. With two CPUs under
        // emulation the kernel distrusts the TSC, and each clock call becomes a system call.
        let mut line = format!(
            "console=ttyS0 loglevel=5 panic=-1 tsc=reliable rdinit=/init lsm={}",
            lsm.join(",")
        );
        if self.spec.has(Profile::Lockdown) {
            line.push_str(" lockdown=confidentiality");
        }
        line
    }

    fn initramfs(&self, stored: &Stored, argv: &[OsString]) -> Result<Vec<u8>> {
        let cwd = match &self.cwd {
            Some(cwd) => cwd.clone(),
            None => env::current_dir().context("find the current directory")?,
        };
        let request = Request {
            argv: argv.to_vec(),
            env: self.environment()?,
            keep: vec![project::root(), project::target_dir(), cwd.clone()],
            cwd,
            modules: Some(stored.modules.clone()),
            early_modules: stored.prepared.early.clone(),
            late_modules: stored.prepared.late.clone(),
            cgroup1: self.spec.has(Profile::Cgroup1),
            msize: MSIZE,
        };
        let mut archive = Initramfs::new(Vec::new());
        archive.console()?;
        archive.program("init", &init::build()?)?;
        archive.program(
            REQUEST_PATH.trim_start_matches('/'),
            &serde_json::to_vec(&request)?,
        )?;
        archive.directory("modules")?;
        for name in stored.prepared.early.iter().chain(&stored.prepared.late) {
            let file = format!("{name}.ko");
            let module = fs::read(stored.prepared.directory.join(&file))?;
            archive.program(&format!("modules/{file}"), &module)?;
        }
        Ok(archive.finish()?)
    }

    fn environment(&self) -> Result<Vec<(OsString, OsString)>> {
        let mut environment: Vec<_> = env::vars_os()
            .filter(|(name, _)| {
                let name = name.to_string_lossy();
                PASSED_ON.contains(&name.as_ref())
                    || PASSED_ON_PREFIXES
                        .iter()
                        .any(|prefix| name.starts_with(prefix))
            })
            .collect();
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = binaries().into_iter().chain(env::split_paths(&path));
        environment.push(("PATH".into(), env::join_paths(directories)?));
        environment.push(("KCHAOS_LAB".into(), self.spec.to_string().into()));
        environment.extend(self.env.iter().cloned());
        Ok(environment)
    }
}

/// Where the project's binaries were built last.
fn binaries() -> Option<PathBuf> {
    ["debug", "release"]
        .iter()
        .map(|profile| project::target_dir().join(profile))
        .filter_map(|directory| {
            let built = project::BINARIES
                .iter()
                .filter_map(|name| directory.join(name).metadata().ok()?.modified().ok())
                .max()?;
            Some((built, directory))
        })
        .max()
        .map(|(_, directory)| directory)
}

/// A fresh file for what the guest's kernel says; the oldest of earlier ones go.
fn open_log(spec: &Spec) -> Result<(File, PathBuf)> {
    let directory = cache::subdir("logs")?;
    let mut names: Vec<_> = fs::read_dir(&directory)?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    // Names begin with the time.
    names.sort_unstable();
    for name in names.iter().rev().skip(KEPT_LOGS) {
        // Somebody else's clean-up may have been faster.
        fs::remove_file(directory.join(name)).ok();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let path = directory.join(format!("{now}-{}-{spec}.log", std::process::id()));
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    Ok((file, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_the_emulator_ended_before_the_command_is_booted_again() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let log = |name: &str, text: &str| -> io::Result<PathBuf> {
            let path = directory.path().join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        let stale = log("stale", "Oops: int3: 0000 [#1]\nCode: 0f <1f> 44\n")?;
        let other = log("other", "Kernel panic - not syncing: No working init\n")?;
        let panic = End::Failed(Failure::Kernel(Illness::Panic, "Fatal exception".into()));
        let ready = Some(Duration::from_secs(5));
        for (end, ready, log, expected) in [
            (&panic, None, &stale, true),
            (&panic, ready, &stale, false),
            (&panic, None, &other, false),
            (&End::Exited(1), ready, &stale, false),
        ] {
            let outcome = Outcome {
                end: end.clone(),
                timing: Timing {
                    ready,
                    ..Timing::default()
                },
                log: log.clone(),
            };
            assert_eq!(outcome.is_stillborn(), expected, "{outcome:?}");
        }
        Ok(())
    }
}
