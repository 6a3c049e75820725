//! A process that undoes what its owner has changed when the owner can't: because it is dead, is
//! held, or the time is up.
//!
//! It has a session and, where it can be made, a cgroup of its own, so that what ends the owner does
//! not end it; of capabilities it keeps what it takes to write control files and to end its owner;
//! it holds a pidfd of the owner and the reading end of a pipe on which the owner is heard. What
//! there is to undo it reads in the journal.

mod duty;
mod watch;

use std::{
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

pub use watch::main_if_asked;

use crate::{node::Settings, state::Owner};

/// The first argument of a program of ours that shall be a guard.
const SUBCOMMAND: &str = "guard-of-changes";

/// Has a command run out of reach of what the terminal sends to the foreground group.
pub(crate) fn in_own_session(command: &mut Command) -> &mut Command {
    // SAFETY: setsid is a plain system call.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(())
            }
        })
    }
}

/// Guards are started as /proc/self/exe, of which the kernel makes the name `exe`.
pub(crate) fn name_this_process() {
    // SAFETY: a name that ends in a zero.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"kchaos-guard".as_ptr()) };
}

/// What the owner says when it needs no guard any more, before it closes the pipe.
const DISMISSAL: u8 = b'x';

/// A running guard, seen from its owner.
#[derive(Debug)]
#[must_use]
pub(crate) struct Guard {
    child: Child,
    owner: Owner,
}

impl Guard {
    /// Starts one for this process. When this returns it watches.
    pub(crate) fn start(settings: &Settings) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(SUBCOMMAND)
            .arg(Owner::this().to_string())
            .arg(settings.lease.as_millis().to_string())
            .arg(settings.state.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = in_own_session(&mut command).spawn()?;
        let ready = match child.stdout.take() {
            Some(mut said) => said.read_exact(&mut [0]),
            None => Err(io::Error::other("it can't be heard")),
        };
        if let Err(error) = ready {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(error.kind(), "it ended before it watched"));
        }
        let owner = Owner::of(child.id());
        Ok(Self { child, owner })
    }

    /// Tells it that the owner lives; false when it is no guard any more.
    pub(crate) fn beat(&mut self) -> bool {
        let heard = self
            .child
            .stdin
            .as_mut()
            .is_some_and(|pipe| pipe.write_all(b".").is_ok());
        heard && !self.owner.is_stopped()
    }

    /// Ends it when there is nothing left to guard.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            // Where that can't be written there is nobody to be told.
            pipe.write_all(&[DISMISSAL]).ok();
        }
        if self.owner.is_stopped() {
            return self.kill();
        }
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "the guard was gone already");
        }
    }

    /// Ends it, whatever it does.
    pub(crate) fn kill(mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::debug!(%error, "the guard was gone already");
        }
    }
}
