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
    time::Duration,
};

use chaos_common::Decision;

use super::{
    board::{Flight, Shared},
    notify::{Answer, Listener, poll},
    rule::{Rule, Shot},
    sleepers::{Fate, Sleepers, Woken},
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
    let mut guard = Guard {
        listener: Listener::new(listener),
        sleepers: Sleepers::find(&board),
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
    /// Calls that wait.
    sleepers: Sleepers,
    /// Has it kill. There from the beginning, because a target that was let loose may have taken all
    /// pids by then; `None` where there was none left for it.
    killer: Option<SyncSender<()>>,
    /// For samples.
    tree: Option<CgroupTree>,
}

impl Guard {
    fn watch(&mut self, kchaos: UnixStream) -> io::Result<()> {
        let mut kchaos = Some(kchaos);
        if let Some(kchaos) = &mut kchaos {
            // If nobody reads this, the end of the connection is found below.
            kchaos.write_all(&[HERE]).ok();
        }
        loop {
            self.wake()?;
            let listener = self.listener.as_fd().as_raw_fd();
            // A negative descriptor is left out.
            let end = kchaos.as_ref().map_or(-1, UnixStream::as_raw_fd);
            let [heard, calls] = poll([end, listener], self.patience())?;
            if heard != 0
                && let Some(mut connection) = kchaos.take()
            {
                let was_over = self.board.over.swap(1, Relaxed) != 0;
                self.wake()?;
                if matches!(connection.read(&mut [0]), Ok(1..)) {
                    let left = poll([listener], Some(Duration::ZERO))?[0] & libc::POLLHUP == 0;
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
                // Who waited has been killed: counted all the same.
                self.board.over.store(1, Relaxed);
                return self.wake();
            }
        }
    }

    /// How long nothing has to be done unless somebody is heard: until the next call has waited, or
    /// kchaos has been silent for too long.
    fn patience(&self) -> Option<Duration> {
        let due = self.sleepers.next()?;
        let until = due.min(self.board.held_until.load(Relaxed));
        Some(Duration::from_nanos(until.saturating_sub(boot::time_ns())))
    }

    /// Answers the calls that have waited; all of them when the faults are over.
    fn wake(&mut self) -> io::Result<()> {
        if self.sleepers.next().is_none() {
            return Ok(());
        }
        let now = boot::time_ns();
        let until = if self.is_over(now) { u64::MAX } else { now };
        while let Some(woken) = self.sleepers.wake(until) {
            self.reply_to(&woken, now)?;
        }
        Ok(())
    }

    fn is_over(&self, now: u64) -> bool {
        self.board.over.load(Relaxed) != 0 || now >= self.board.held_until.load(Relaxed)
    }

    fn reply_to(&mut self, woken: &Woken, now: u64) -> io::Result<()> {
        let Woken {
            place,
            id,
            fate,
            again,
            shot,
        } = *woken;
        let rule = fate.ends_by.map(|(rule, _)| self.board.rule(rule));
        // A fault does nothing after its end.
        let is_over = self.is_over(now) || rule.is_some_and(|rule| now >= rule.config.deadline_ns);
        let delivered = self.send(id, rule.filter(|_| !is_over), again)?;
        self.sleepers.forget(place);
        self.count(fate, delivered && !is_over, shot);
        Ok(())
    }

    /// Lets a call go on, or has it end as a rule wants. Whether somebody got that.
    fn send(&self, id: u64, rule: Option<&Rule>, again: bool) -> io::Result<bool> {
        match self
            .listener
            .answer(id, rule.map_or(Answer::GoOn, Rule::answer))
        {
            Ok(()) => Ok(true),
            // Nobody waits any more: killed, or answered by a guard that died before it had counted.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINPROGRESS)) =>
            {
                Ok(again)
            }
            Err(error) => Err(error),
        }
    }

    /// Counts how a call has ended.
    fn count(&self, fate: Fate, delivered: bool, shot: Option<Shot>) {
        let Some((index, ordinal)) = fate.ends_by else {
            return;
        };
        self.count_for(index, ordinal, delivered, shot);
    }

    fn count_for(&self, index: u32, ordinal: u64, delivered: bool, shot: Option<Shot>) {
        let rule = self.board.rule(index);
        rule.count(Decision::Inject, delivered);
        if delivered {
            rule.record(ordinal);
            if let Some(shot) = shot {
                rule.show(ordinal, &shot);
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
    fn succeed(&mut self) -> io::Result<()> {
        let flight = &self.board.flight;
        match flight.call() {
            Some(call) if !self.sleepers.has(call.id) => return self.finish(),
            _ => flight.clear(),
        }
        Ok(())
    }

    fn answer(&mut self) -> io::Result<()> {
        // SAFETY: the place is in the board, and all zeros between two calls.
        match unsafe { self.listener.receive(self.board.flight.place()) } {
            Ok(()) => self.finish(),
            // The caller has been killed, or had a signal to handle first.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Decides about the call in flight, unless that is done; answers and counts it, or has it wait.
    fn finish(&mut self) -> io::Result<()> {
        let board = Arc::clone(&self.board);
        let flight = &board.flight;
        let Some(call) = flight.call() else {
            return Ok(());
        };
        let mut shots = Vec::new();
        let decided_before = flight.stage.load(Relaxed) == Flight::DECIDED;
        if !decided_before {
            shots = self.decide(&call)?;
        }
        let mut shot_of = |rule: u32| {
            let place = shots.iter().position(|(of, _)| *of == rule)?;
            Some(shots.swap_remove(place).1)
        };
        let delays = flight.delays.load(Relaxed);
        if delays != 0 {
            let waits = self.listener.is_waiting(call.id);
            for index in each(delays) {
                flight.delays.fetch_and(!(1 << index), Relaxed);
                let ordinal = flight.ordinals[index as usize].load(Relaxed);
                self.count_for(index, ordinal, waits, shot_of(index));
            }
        }
        let fate = flight.fate();
        let shot = fate.ends_by.and_then(|(rule, _)| shot_of(rule));
        if !self.sleepers.put(call.id, fate, shot) {
            let rule = fate.ends_by.map(|(rule, _)| board.rule(rule));
            let delivered = self.send(call.id, rule, decided_before)?;
            flight.counted();
            self.count(fate, delivered, shot);
        }
        flight.clear();
        Ok(())
    }

    /// Asks the rules that want this call in their order: delays add up, and the first of the others
    /// that injects is the last of them to be asked. What is to be shown, by rule.
    fn decide(&mut self, call: &libc::seccomp_notif) -> io::Result<Vec<(u32, Shot)>> {
        let board = Arc::clone(&self.board);
        let mut wanted = board.wanted(call.data.nr);
        if board.over.load(Relaxed) != 0 || !self.has_begun(call.pid) {
            wanted = 0;
        }
        let now = boot::time_ns();
        let held_until = board.held_until.load(Relaxed);
        let has_room = self.has_room(now)?;
        let task = Task::new(&self.listener, call);
        // What takes long comes first: a guard that is killed between two rules has its successor ask
        // the earlier one again.
        for rule in each(wanted).map(|index| board.rule(index)) {
            task.read(rule.is_narrowed != 0, rule.counts_threads());
        }
        let (mut fate, mut delays, mut shots) = (Fate::default(), 0, Vec::new());
        for index in each(wanted) {
            let rule = board.rule(index);
            let until = rule.wait_until(fate.due.unwrap_or(now));
            if until.is_none() && fate.ends_by.is_some() {
                continue;
            }
            let (decision, ordinal) = rule.decide(index, now, held_until, &task, &board.threads);
            match (decision, until) {
                (Decision::Inject, Some(_)) if !has_room => {
                    rule.count(Decision::Error, false);
                    continue;
                }
                (Decision::Inject, Some(until)) => {
                    board.flight.ordinals[index as usize].store(ordinal, Relaxed);
                    delays |= 1 << index;
                    fate.due = Some(until);
                }
                (Decision::Inject, None) => fate.ends_by = Some((index, ordinal)),
                (decision, _) => {
                    rule.count(decision, false);
                    continue;
                }
            }
            if rule.samples(now) {
                // Read while the caller waits: afterwards it may be gone.
                let shot = Shot {
                    time_ns: now,
                    call: call.data.nr.unsigned_abs(),
                    of: task.portrait(self.tree.as_ref()),
                };
                shots.push((index, shot));
            }
        }
        board.flight.decide(fate, delays);
        Ok(shots)
    }

    /// Whether one more call may wait.
    fn has_room(&mut self, now: u64) -> io::Result<bool> {
        if !self.sleepers.has_room() {
            for woken in self.sleepers.sweep(now, &self.listener) {
                self.reply_to(&woken, now)?;
            }
        }
        Ok(self.sleepers.has_room())
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
