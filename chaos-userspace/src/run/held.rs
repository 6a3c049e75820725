//! A command that is started but held before its exec, inside its cgroup and behind its filter.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, ExitStatus},
    sync::{Arc, mpsc::Sender},
    thread,
};

use super::{Event, exec::Exec};
use crate::{
    node::scratch::ScratchCgroup,
    seccomp::{Entry, Greeting},
};

/// Why a command could not be started, as a shell tells it.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {source}")]
pub struct StartError {
    /// The command's first word.
    pub program: String,
    /// What exec said.
    pub source: io::Error,
}

/// The end of the command, or of the attempt to start it.
#[derive(Debug)]
pub(super) struct Ended {
    program: String,
    result: io::Result<ExitStatus>,
}

impl Ended {
    pub(super) fn lost() -> Self {
        Self {
            program: "the command".to_owned(),
            result: Err(io::Error::other("its end was not seen")),
        }
    }

    pub(super) fn into_result(self) -> Result<ExitStatus, StartError> {
        let program = self.program;
        self.result.map_err(|source| StartError { program, source })
    }

    /// Why it ended before it was released.
    pub(super) fn error(self) -> StartError {
        let source = match self.result {
            Err(error) => error,
            Ok(status) => io::Error::other(format!("ended before it was started: {status}")),
        };
        StartError {
            program: self.program,
            source,
        }
    }
}

/// The held command. It goes on when it is released, and ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Held {
    pid: i32,
    go: io::PipeWriter,
}

impl Held {
    /// Forks, moves the child into the cgroup, has it enter the filter, and holds it there. The child
    /// dies with this process.
    pub(super) fn start(
        command: &[OsString],
        cgroup: Option<&ScratchCgroup>,
        entry: Option<Entry>,
        events: Sender<Event>,
    ) -> io::Result<(Self, Greeting)> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
        };
        let name = program.to_string_lossy().into_owned();
        let join = cgroup.map(ScratchCgroup::joiner).transpose()?;
        let (heard, ready) = UnixStream::pair()?;
        let (wait, go) = io::pipe()?;
        let exec = Arc::new(Exec::new(command)?);
        let own_exec = Arc::clone(&exec);
        // Never becomes anything by itself; its words are for whoever looks at it.
        let mut command = Command::new(program);
        command.args(arguments);
        let parent = std::process::id();
        // The child has a copy of the writing end as well. While it holds that, the pipe never
        // breaks, so it closes its copy first.
        let own_go = go.as_raw_fd();
        // SAFETY: between fork and exec the child only makes system calls on its own descriptors and
        // stack: nothing in there allocates or takes a lock.
        unsafe {
            command.pre_exec(move || {
                libc::close(own_go);
                own_exec.touch();
                super::signals::forget_file_limits();
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The parent may have died before it was to be watched.
                if libc::getppid().cast_unsigned() != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                if let Some(join) = &join {
                    join.join()?;
                }
                if let Some(entry) = &entry {
                    entry.enter(ready.as_raw_fd(), wait.as_raw_fd());
                } else {
                    (&ready).write_all(&Greeting::plain(libc::getpid()))?;
                    (&wait).read_exact(&mut [0])?;
                }
                own_exec.become_it()
            });
        }
        // The thread that starts the child must outlive it: PR_SET_PDEATHSIG is about threads.
        thread::Builder::new()
            .name("command".to_owned())
            .spawn(move || {
                let result = command.spawn().and_then(|mut child| {
                    // Closes this process's copies of the child's ends.
                    drop(command);
                    let status = child.wait()?;
                    exec.error().map_or(Ok(status), Err)
                });
                // Nobody listens any more when the whole run has been given up.
                drop(events.send(Event::Ended(Ended {
                    program: name,
                    result,
                })));
            })?;
        let greeting = Greeting::receive(&heard)?;
        let pid = greeting.pid;
        Ok((Self { pid, go }, greeting))
    }

    /// Lets the command's exec happen and returns its pid.
    pub(super) fn release(mut self) -> io::Result<i32> {
        self.go.write_all(&[1])?;
        Ok(self.pid)
    }

    /// Ends the child without an exec and waits until it is gone.
    pub(super) fn abandon(self, inbox: &std::sync::mpsc::Receiver<Event>) {
        super::signals::send(self.pid, libc::SIGKILL);
        drop(self);
        while let Ok(event) = inbox.recv_timeout(std::time::Duration::from_secs(5)) {
            if matches!(event, Event::Ended(_)) {
                break;
            }
        }
    }
}
