//! Threads that sleep for longer than a program may keep a processor busy.
//!
//! A process of ours, the pauser, stops them the way that a debugger does, each for itself, and lets
//! them go when they are due, when their plan is held no longer, and when its owner ends. What makes
//! this safe is the kernel: who traces others and ends, however that happens, has let all of them go.
//! A pauser that is held ends too: a timer of the kernel's kills it.
//!
//! What program and pauser tell each other is in `chaos_common::pause`, and how the program does its
//! part in `chaos-ebpf/src/pause.rs`.

mod process;
mod thread;
mod watchdog;

use std::{
    io::{self, Read as _},
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

pub use process::main_if_asked;
pub(crate) use watchdog::Watchdog;

use crate::guard::in_own_session;

/// The first argument of a program of ours that shall be a pauser.
const SUBCOMMAND: &str = "pauser";

/// What it says when it is ready; anything else is why it is not.
const READY: u8 = b'+';

/// The maps that a pauser needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PauseMaps<'a> {
    /// `PAUSES_ASKED`
    pub(crate) asked: BorrowedFd<'a>,
    /// `PAUSES`
    pub(crate) pauses: BorrowedFd<'a>,
    /// `PLANS_HELD`
    pub(crate) plans: BorrowedFd<'a>,
}

/// A running pauser, seen from its owner. When it is dropped, it has let everybody go.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pauser {
    child: Child,
}

impl Pauser {
    /// Starts one. When this returns it listens, and has stopped a process of its own for a trial.
    ///
    /// # Errors
    /// Why threads can't be stopped here.
    pub(crate) fn start(maps: &PauseMaps<'_>) -> Result<Self, String> {
        let fds = [maps.asked, maps.pauses, maps.plans].map(|fd| fd.as_raw_fd());
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(SUBCOMMAND)
            .args(fds.map(|fd| fd.to_string()))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // SAFETY: fcntl is a plain system call, on descriptors that the owner keeps open meanwhile.
        unsafe { command.pre_exec(move || fds.into_iter().try_for_each(pass_on)) };
        let explain = |error: io::Error| format!("no process that stops threads: {error}");
        let mut child = in_own_session(&mut command).spawn().map_err(explain)?;
        let mut said = Vec::new();
        let heard = match child.stdout.take() {
            Some(mut pipe) => pipe.read_to_end(&mut said),
            None => Ok(0),
        };
        let pauser = Self { child };
        heard.map_err(explain)?;
        if said == [READY] {
            return Ok(pauser);
        }
        Err(format!(
            "no process that stops threads: {}",
            match String::from_utf8_lossy(&said).trim() {
                "" => "it ended at once",
                why => why,
            }
        ))
    }

    /// Whether it is there yet: who kills it, kills no fault.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Pauser {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::debug!(%error, "the pauser was gone already");
        }
    }
}

/// Has a descriptor outlive the exec.
fn pass_on(fd: RawFd) -> io::Result<()> {
    // SAFETY: the owner's, which is open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
