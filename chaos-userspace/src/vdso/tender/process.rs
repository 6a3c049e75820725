//! The tender's own program.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigHandler, SigSet, Signal, signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use super::{
    SUBCOMMAND,
    message::{Answer, Order, send},
    tended::{BUSY, Tending},
};
use crate::{
    boot,
    pause::Watchdog,
    state::{Owner, StateDir},
    vdso::tracee::{self, News},
};

/// How often it is looked who came to the targets; half of what is promised.
const TICK: Duration = Duration::from_millis(5);

/// Is the tender, if this process was started as one: for the first line of a program that may need
/// one.
pub fn main_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    let tender = (|| {
        let owner: Owner = arguments.next()?.to_str()?.parse().ok()?;
        let lease: u64 = arguments.next()?.to_str()?.parse().ok()?;
        let state = StateDir::at(PathBuf::from(arguments.next()?));
        let tending = Tending::new(
            owner,
            Duration::from_millis(lease),
            state.journal(),
            boot::id(),
            Watchdog::new().ok()?,
        );
        Tender::ready(tending).ok()
    })();
    Some(match tender.map(Tender::run) {
        Some(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

struct Tender {
    tending: Tending,
    owner: UnixStream,
    said: Vec<u8>,
    children: SignalFd,
    /// A child of the owner, and what came of it: they are stopped behind each exec.
    followed: HashSet<i32>,
    looked: Instant,
}

impl Tender {
    fn ready(tending: Tending) -> io::Result<Self> {
        for ignored in [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGPIPE,
        ] {
            // SAFETY: no handler is installed.
            unsafe { signal(ignored, SigHandler::SigIgn) }?;
        }
        // Whom it stops must not wait for others to have their turn.
        // SAFETY: takes integers.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        children.thread_block()?;
        // SAFETY: open, as whoever starts this has it.
        let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
        let owner = UnixStream::from(stdin.try_clone_to_owned()?);
        owner.set_nonblocking(true)?;
        Ok(Self {
            tending,
            owner,
            said: Vec::new(),
            children: SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK)?,
            followed: HashSet::new(),
            looked: Instant::now(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            if self.followed.is_empty() {
                self.tending.watchdog.rest()?;
            } else {
                // They wait for this process at any time.
                self.tending.watchdog.feed(TICK)?;
            }
            self.wait()?;
            self.tending.watchdog.feed(BUSY)?;
            while let Ok(Some(_)) = self.children.read_signal() {}
            while let Some((tid, news)) = tracee::wait_any() {
                self.heed(tid, news);
            }
            if !self.hear()? {
                self.tending.end_all();
                return Ok(());
            }
            if !self.tending.is_idle() && self.looked.elapsed() >= TICK {
                self.looked = Instant::now();
                self.tending.look_around();
                self.tending.keep();
            }
            if !self.tending.has_rules() {
                // Let go with their next stop.
                self.followed.drain().for_each(tracee::interrupt);
            }
        }
    }

    /// Until there is something to do.
    fn wait(&self) -> io::Result<()> {
        let mut fds = [
            PollFd::new(self.owner.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = if self.tending.is_idle() {
            PollTimeout::NONE
        } else {
            PollTimeout::from(u8::try_from(TICK.as_millis()).unwrap_or(u8::MAX))
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn heed(&mut self, tid: i32, news: News) {
        let is_followed = self.followed.contains(&tid);
        if news == News::Over {
            self.followed.remove(&tid);
        } else if !is_followed && !self.comes_of_one_that_is_followed(tid) {
            // One that the kernel held when its process was let go.
            tracee::let_go(tid, news);
        } else if news == News::Exec {
            self.tending.at_exec(tid);
        } else {
            self.followed.insert(tid);
            tracee::go_on(tid, news);
        }
    }

    /// Whether it is new, and ours because its parent is. It can be the first to say so.
    fn comes_of_one_that_is_followed(&self, tid: i32) -> bool {
        if self.followed.is_empty() {
            return false;
        }
        let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<i32>().ok()
        };
        let is_followed = |pid: Option<i32>| pid.is_some_and(|pid| self.followed.contains(&pid));
        is_followed(number("Tgid:")) || is_followed(number("PPid:"))
    }

    /// Does what the owner says; false when it says nothing any more.
    fn hear(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        loop {
            match self.owner.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(read) => self.said.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
        while let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.said.drain(..=end).collect();
            self.tending.hear();
            let answer = match serde_json::from_slice(&line)? {
                Order::Beat => continue,
                Order::Bend(rule) => {
                    let followed = self.follow(rule.held);
                    match followed.and_then(|()| self.tending.begin(*rule)) {
                        Ok(state) => Answer::State(state),
                        Err(why) => Answer::Refused(why),
                    }
                }
                Order::Look(id) => self.tending.state(id).map_or_else(
                    || Answer::Refused("it ended with a process that has died".to_owned()),
                    Answer::State,
                ),
                Order::End(id) => Answer::State(self.tending.end(id)),
            };
            let mut line = Vec::new();
            send(&mut line, &answer)?;
            // The owner reads it, or is gone.
            self.owner.set_nonblocking(false)?;
            let sent = self.owner.write_all(&line);
            self.owner.set_nonblocking(true)?;
            if sent.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn follow(&mut self, held: Option<u32>) -> Result<(), String> {
        let Some(pid) = held.and_then(|pid| i32::try_from(pid).ok()) else {
            return Ok(());
        };
        if self.followed.contains(&pid) {
            return Ok(());
        }
        tracee::follow(pid).map_err(|error| {
            format!(
                "the command can't be traced ({error}); that takes CAP_SYS_PTRACE, and \
                 kernel.yama.ptrace_scope below 3"
            )
        })?;
        self.followed.insert(pid);
        Ok(())
    }
}
