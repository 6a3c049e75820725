//! The process that answers: alone in its session, so that nothing but SIGKILL ends it before the
//! last process with the filter has ended.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{net::UnixStream, process::parent_id},
    },
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
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
    state::{Owner, StateDir},
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
    raise_cpu_limit();
    let theirs = [listener, memory, 0];
    // SAFETY: takes integers.
    let is_open = |fd: RawFd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
    if listener <= 2 || memory <= 2 || listener == memory || !theirs.into_iter().all(is_open) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    close_others(listener, memory);
    // SAFETY: they are open, and nothing in this program knows of them yet.
    let [listener, memory, kchaos] = theirs.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let board = Arc::new(Shared::map(memory)?);
    let (killer, killing) = killer(&board).unzip();
    let guard = Guard {
        listener: Listener::new(listener),
        killer,
        board,
        tree: CgroupTree::find().ok(),
    };
    guard.listener.hurry();
    guard.succeed()?;
    let watched = guard.watch(UnixStream::from(kchaos));
    drop(guard);
    if let Some(killing) = killing {
        // What it was told to do it does to the end.
        killing.join().ok();
    }
    watched
}

struct Guard {
    listener: Listener,
    board: Arc<Shared>,
    /// Has it kill. There from the beginning, because a target that was let loose may have taken all
    /// pids by then; `None` where there was none left for it.
    killer: Option<SyncSender<()>>,
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
        match &self.killer {
            Some(killer) => drop(killer.try_send(())),
            None => self.board.kill_attached(),
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
        // What takes long comes first: a guard that is killed between two rules has its successor ask
        // the earlier one again.
        for rule in each(wanted).map(|index| board.rule(index)) {
            task.read(rule.is_narrowed != 0, rule.counts_threads());
        }
        for index in each(wanted) {
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

/// The places of the bits that are set, the lowest first.
fn each(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (place < u64::BITS).then_some(place)
    })
}

/// A thread that waits for the word to kill.
fn killer(board: &Arc<Shared>) -> Option<(SyncSender<()>, JoinHandle<()>)> {
    let board = Arc::clone(board);
    // Whoever starts a guard waits for its first word.
    let kchaos = Owner::of(parent_id());
    let (sender, receiver) = sync_channel(1);
    let wait = move || {
        if receiver.recv().is_ok() {
            board.kill_attached();
            StateDir::default().bury(kchaos);
        }
    };
    let thread = thread::Builder::new().spawn(wait).ok()?;
    Some((sender, thread))
}

/// What ends processes by their name, user or group must not end the one that answers: everything
/// but what tells of a mistake of its own, and what can't be ignored.
fn ignore_signals() {
    let mistakes = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGABRT,
        libc::SIGSYS,
        // Its default is to be ignored, and children are waited for.
        libc::SIGCHLD,
    ];
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !mistakes.contains(signal)) {
        // SAFETY: no handler is installed; those that can't be ignored are refused.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// It works for whoever makes calls, and has the limit of whoever has started kchaos: as much as that
/// allows.
fn raise_cpu_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for a limit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_CPU, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_CPU, &raw const limit);
        }
    }
}

/// Whatever else kchaos was started with: pipes and locks of others, that would stay as long as this
/// program.
fn close_others(first: RawFd, second: RawFd) {
    let (low, high) = (first.min(second), first.max(second));
    for (from, to) in [(3, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)] {
        if from <= to {
            // SAFETY: nothing in this program has opened anything above standard error yet.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    }
}
