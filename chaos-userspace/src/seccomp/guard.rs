//! The process that answers: alone in its session, so that nothing but SIGKILL ends it before the
//! last process with the filter has ended.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
};

use chaos_common::Decision;

use super::{
    board::{Flight, Shared},
    notify::{Listener, poll},
    rule::Shot,
    task::Task,
};
use crate::{
    boot,
    target::{CgroupTree, Stat},
};

/// The hidden subcommand that [`main`] stands behind.
pub const SUBCOMMAND: &str = "guard-of-calls";

/// `PF_FORKNOEXEC` in the flags of /proc/PID/stat (include/linux/sched.h).
const NO_EXEC_YET: u64 = 0x40;

/// From kchaos: the faults are over.
pub(super) const END: u8 = b'e';
/// To kchaos: answering from now on, and after [`END`] until nobody is left to be answered.
pub(super) const HERE: u8 = b'+';
/// To kchaos: nobody is left.
pub(super) const LEAVING: u8 = b'-';

/// The guard's own program. `listener` and `memory` are descriptors that kchaos has left open, and
/// standard input is the connection to it.
///
/// # Errors
/// When these are not what they should be, or the kernel refuses something.
pub fn main(listener: RawFd, memory: RawFd) -> io::Result<()> {
    ignore_signals();
    // SAFETY: whoever has started this program has opened them for it; others get errors.
    let [listener, memory, kchaos] =
        [listener, memory, 0].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let guard = Guard {
        listener: Listener::new(listener),
        board: Arc::new(Shared::map(memory)?),
        tree: CgroupTree::find().ok(),
    };
    guard.listener.hurry();
    guard.succeed()?;
    guard.watch(UnixStream::from(kchaos))
}

struct Guard {
    listener: Listener,
    board: Arc<Shared>,
    /// For samples.
    tree: Option<CgroupTree>,
}

impl Guard {
    fn watch(&self, kchaos: UnixStream) -> io::Result<()> {
        let mut kchaos = Some(kchaos);
        if let Some(kchaos) = &mut kchaos {
            // If nobody reads this, the end of the connection is found below.
            kchaos.write_all(&[HERE]).ok();
        }
        loop {
            let listener = self.listener.as_fd().as_raw_fd();
            // A negative descriptor is left out.
            let end = kchaos.as_ref().map_or(-1, UnixStream::as_raw_fd);
            let [heard, calls] = poll([end, listener], -1)?;
            if heard != 0
                && let Some(mut connection) = kchaos.take()
            {
                let was_over = self.board.over.swap(1, Relaxed) != 0;
                if matches!(connection.read(&mut [0]), Ok(1..)) {
                    let left = poll([listener], 0)?[0] & libc::POLLHUP == 0;
                    let reply = if left { HERE } else { LEAVING };
                    connection.write_all(&[reply]).ok();
                } else if !was_over {
                    // Killed. Otherwise its last word was for a guard before this one.
                    self.kill();
                }
            }
            if calls & libc::POLLIN != 0 {
                self.answer()?;
            } else if calls & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
                return Ok(());
            }
        }
    }

    /// kchaos was killed: so is what is still attached to it, while all others are answered.
    fn kill(&self) {
        let board = Arc::clone(&self.board);
        let kill = move || board.mark().kill_in_session(board.session.load(Relaxed));
        if let Err(error) = thread::Builder::new().spawn(kill) {
            tracing::debug!(%error, "nobody was killed");
        }
    }

    /// Answers what a dead guard had taken from the listener.
    fn succeed(&self) -> io::Result<()> {
        let flight = &self.board.flight;
        if flight.call().is_some() {
            return self.finish();
        }
        flight.clear();
        Ok(())
    }

    fn answer(&self) -> io::Result<()> {
        // SAFETY: the place is in the board, and all zeros between two calls.
        match unsafe { self.listener.receive(self.board.flight.place()) } {
            Ok(()) => self.finish(),
            // The caller has been killed, or had a signal to handle first.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Decides about the call in flight, unless that is done, answers and counts it.
    fn finish(&self) -> io::Result<()> {
        let flight = &self.board.flight;
        let Some(call) = flight.call() else {
            return Ok(());
        };
        let mut shot = None;
        let mut decided_before = true;
        if flight.stage.load(Relaxed) == Flight::UNDECIDED {
            decided_before = false;
            shot = self.decide(&call);
        }
        let (rule, ordinal) = (flight.rule.load(Relaxed), flight.ordinal.load(Relaxed));
        let rule = (flight.stage.load(Relaxed) == Flight::INJECT).then(|| self.board.rule(rule));
        let answered = self
            .listener
            .answer(call.id, rule.map(|rule| rule.config.effect));
        let delivered = match answered {
            Ok(()) => true,
            // Nobody waits any more: killed, or answered by a guard that died before it had counted.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINPROGRESS)) =>
            {
                decided_before
            }
            Err(error) => return Err(error),
        };
        flight.stage.store(Flight::PASS, Relaxed);
        if let Some(rule) = rule {
            rule.count(Decision::Inject, delivered);
            if delivered {
                rule.record(ordinal);
                if let Some(shot) = shot {
                    rule.show(ordinal, &shot);
                }
            }
        }
        flight.clear();
        Ok(())
    }

    /// Asks the rules that want this call in their order, until one injects.
    fn decide(&self, call: &libc::seccomp_notif) -> Option<Shot> {
        let (board, flight) = (&self.board, &self.board.flight);
        let mut wanted = board.wanted(call.data.nr);
        if board.over.load(Relaxed) != 0 || !self.has_begun(call.pid) {
            wanted = 0;
        }
        let now = boot::time_ns();
        let held_until = board.held_until.load(Relaxed);
        let task = Task::new(&self.listener, call.id, call.pid);
        while wanted != 0 {
            let index = wanted.trailing_zeros();
            wanted &= wanted - 1;
            let rule = board.rule(index);
            let (decision, ordinal) = rule.decide(index, now, held_until, &task, &board.threads);
            if decision != Decision::Inject {
                rule.count(decision, false);
                continue;
            }
            flight.rule.store(index, Relaxed);
            flight.ordinal.store(ordinal, Relaxed);
            flight.stage.store(Flight::INJECT, Relaxed);
            // Read while the caller waits: afterwards it may be gone.
            return rule.samples(now).then(|| Shot {
                time_ns: now,
                call: call.data.nr.unsigned_abs(),
                of: task.portrait(self.tree.as_ref()),
            });
        }
        flight.stage.store(Flight::PASS, Relaxed);
        None
    }

    /// Whether the command's exec is over: what its child calls before is not the command's own.
    fn has_begun(&self, caller: u32) -> bool {
        let board = &self.board;
        if board.begun.load(Relaxed) != 0 {
            return true;
        }
        let stat = std::fs::read_to_string(format!("/proc/{caller}/stat"));
        let waits = caller == board.command.load(Relaxed)
            && stat.is_ok_and(|text| {
                Stat::parse(&text).is_none_or(|stat| stat.flags & NO_EXEC_YET != 0)
            });
        board.begun.store(u32::from(!waits), Relaxed);
        !waits
    }
}

/// What ends whole groups of processes must not end the one that answers.
fn ignore_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
