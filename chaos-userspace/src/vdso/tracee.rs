//! ptrace(2): all threads of a process stopped, and system calls made in one of them.
//!
//! Whoever is stopped here goes on when this process ends, however that happens: the kernel lets go
//! what a tracer held, with the registers that it has then. So they are true at any time, or lead
//! [`home`].

use std::{
    collections::BTreeSet,
    fs, io,
    mem::MaybeUninit,
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::home;
use crate::target::CgroupTree;

/// How long threads may take to stop: each has to get a processor for it. One that the kernel holds
/// does not hold its process.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked again, for each thread that has not stopped.
const LOOK: Duration = Duration::from_micros(20);

/// So many times that at most.
const MOST_LOOKS: u32 = 50;

/// After so many looks it is asked whether the kernel holds who has not stopped.
const PATIENT_LOOKS: u32 = 20;

/// How long a thread may take that makes calls, in all. One whose cgroup is frozen meanwhile makes none.
const MOST_CALLS: Duration = Duration::from_millis(500);

/// How long one that took too long may take to stop.
const MOST_STOP: Duration = Duration::from_millis(100);

/// So often it is looked at once: a call takes some microseconds, and its process stands still.
const SPINS: u32 = 200;

/// The set of signals that a thread of ours gets while it makes a call: none.
const NO_SIGNAL: u64 = u64::MAX;

/// Why a process could not be stopped, or did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(super) enum TraceError {
    /// There is none any more.
    #[error("it has ended")]
    Gone,
    /// Somebody else traces it.
    #[error("process {0} traces it")]
    Traced(u32),
    /// Not now; later it may be well.
    #[error("{0}")]
    Busy(&'static str),
    /// The kernel refused.
    #[error("{what}: {source}")]
    Refused {
        what: &'static str,
        source: io::Error,
    },
}

impl TraceError {
    fn of(what: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ESRCH) => Self::Gone,
            _ => Self::Refused { what, source },
        }
    }
}

/// A process, all of whose threads stand still. Dropping this lets them go.
#[derive(Debug)]
pub(super) struct Tracee {
    pid: i32,
    /// Threads that are ours, and stopped.
    stopped: Vec<Stopped>,
    /// Threads that are ours, and which the kernel holds: they stop before they leave it.
    held: Vec<i32>,
    /// Whether filters of system calls are off while calls are made.
    unfiltered: bool,
    session: Option<Session>,
    /// Threads that were ours before, and stay so.
    followed: BTreeSet<i32>,
}

#[derive(Debug)]
struct Stopped {
    tid: i32,
    registers: libc::user_regs_struct,
    /// With its whole process, by a signal such as SIGSTOP.
    in_group: bool,
}

/// Calls are being made in the first thread.
#[derive(Debug)]
struct Session {
    mask: u64,
    /// Where its way home lies.
    room: u64,
    /// It was told to go on, and has not stopped since.
    away: bool,
    until: Instant,
    /// What came meanwhile, and can't be blocked.
    signals: Vec<i32>,
}

impl Tracee {
    /// Stops all threads of a process.
    pub(super) fn stop(pid: u32) -> Result<Self, TraceError> {
        let pid = i32::try_from(pid).map_err(|_large| TraceError::Gone)?;
        if is_frozen(pid) {
            return Err(TraceError::Busy("its cgroup is frozen"));
        }
        let mut tracee = Self {
            pid,
            stopped: Vec::new(),
            held: Vec::new(),
            unfiltered: true,
            session: None,
            followed: BTreeSet::new(),
        };
        let mut seen = BTreeSet::new();
        // New threads may come as long as one of them runs.
        loop {
            let mut fresh = false;
            for tid in threads(pid)? {
                if !seen.insert(tid) {
                    continue;
                }
                fresh = true;
                match tracee.seize(tid) {
                    // Gone is a thread that ended, while others go on.
                    Ok(()) | Err(TraceError::Gone) => {}
                    Err(error) => return Err(error),
                }
            }
            tracee.wait_for_stops()?;
            if !fresh {
                break;
            }
        }
        match (tracee.stopped.is_empty(), tracee.held.is_empty()) {
            (false, _) => Ok(tracee),
            (true, false) => Err(TraceError::Busy("the kernel holds all its threads")),
            (true, true) => Err(TraceError::Gone),
        }
    }

    /// Takes a thread that is followed, and has stopped behind its exec: it is all that is left of its
    /// process.
    pub(super) fn at_exec(pid: i32) -> Result<Self, TraceError> {
        let mut tracee = Self {
            pid,
            stopped: Vec::new(),
            held: vec![pid],
            unfiltered: true,
            session: None,
            followed: BTreeSet::from([pid]),
        };
        // It is in its exec yet, whose end would write over a register: on to where that is over.
        request(libc::PTRACE_INTERRUPT, pid, 0)
            .and_then(|()| request(libc::PTRACE_CONT, pid, 0))
            .map_err(|error| TraceError::of("stop it", error))?;
        tracee.wait_for_stops()?;
        if tracee.stopped.is_empty() {
            return Err(TraceError::Gone);
        }
        Ok(tracee)
    }

    fn seize(&mut self, tid: i32) -> Result<(), TraceError> {
        match request(libc::PTRACE_SEIZE, tid, OPTIONS) {
            Ok(()) => {
                left().remove(&tid);
            }
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => match tracer(tid) {
                Some(pid) if pid == std::process::id() => {
                    if !left().contains(&tid) {
                        self.followed.insert(tid);
                    }
                }
                Some(pid) => return Err(TraceError::Traced(pid)),
                None if is_held(self.pid, tid) => return Err(TraceError::Gone),
                None => return Err(TraceError::of("trace it", error)),
            },
            Err(error) => return Err(TraceError::of("trace it", error)),
        }
        self.held.push(tid);
        request(libc::PTRACE_INTERRUPT, tid, 0).map_err(|error| TraceError::of("stop it", error))
    }

    /// Waits until each thread has stopped, or is held by the kernel.
    fn wait_for_stops(&mut self) -> Result<(), TraceError> {
        let until = Instant::now() + PATIENCE;
        let mut waits: Vec<i32> = std::mem::take(&mut self.held);
        let mut rounds = 0_u32;
        while !waits.is_empty() {
            let mut left = Vec::new();
            for tid in waits {
                match wait(tid, libc::WNOHANG) {
                    Ok(None) => left.push(tid),
                    Ok(Some(news @ (News::Stopped | News::Group))) => {
                        self.add(tid, news == News::Group)?;
                    }
                    Ok(Some(News::Over)) => {}
                    // It takes its signal first, and stops then.
                    Ok(Some(other)) => {
                        let signal = other.signal();
                        request(libc::PTRACE_INTERRUPT, tid, 0).ok();
                        request(libc::PTRACE_CONT, tid, signal).ok();
                        left.push(tid);
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {}
                    Err(error) => return Err(TraceError::of("wait for it", error)),
                }
            }
            waits = left;
            rounds += 1;
            if waits.is_empty() {
                break;
            }
            if rounds.is_multiple_of(PATIENT_LOOKS) {
                let (in_kernel, others): (Vec<i32>, Vec<i32>) =
                    waits.into_iter().partition(|tid| is_held(self.pid, *tid));
                self.held.extend(in_kernel);
                waits = others;
                if Instant::now() > until {
                    self.held.extend(waits);
                    return Err(TraceError::Busy("it does not stop"));
                }
            }
            // Those that are to stop need the processors more than this.
            thread::sleep(
                LOOK * u32::try_from(waits.len())
                    .unwrap_or(u32::MAX)
                    .min(MOST_LOOKS),
            );
        }
        Ok(())
    }

    fn add(&mut self, tid: i32, in_group: bool) -> Result<(), TraceError> {
        match registers(tid) {
            Ok(registers) => {
                self.stopped.push(Stopped {
                    tid,
                    registers,
                    in_group,
                });
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            Err(error) => Err(TraceError::of("read its registers", error)),
        }
    }

    /// Whether it was stopped behind its exec, before it ran anything: what is followed is.
    pub(super) fn is_followed(&self) -> bool {
        self.followed.contains(&self.pid)
    }

    /// Has filters of system calls say nothing to what is called here; false if that is not allowed.
    pub(super) fn lift_filters(&mut self) -> bool {
        self.unfiltered = self.stopped.first().is_some_and(|thread| {
            request(
                libc::PTRACE_SETOPTIONS,
                thread.tid,
                OPTIONS | SUSPEND_SECCOMP,
            )
            .is_ok()
        });
        self.unfiltered
    }

    /// Moves threads that are about to run one of these instructions to where it is now, which must be
    /// there: who is let go finds it.
    pub(super) fn move_threads(&mut self, moved: &[(u64, u64)]) -> Result<(), TraceError> {
        let failed = |error| TraceError::of("set its registers", error);
        for index in 0..self.stopped.len() {
            let thread = &mut self.stopped[index];
            let found = moved.iter().find(|(from, _)| *from == thread.registers.rip);
            let Some((_, to)) = found else { continue };
            thread.registers.rip = *to;
            let (tid, registers) = (thread.tid, thread.registers);
            match &self.session {
                // It is somewhere else, and goes there from there.
                Some(session) if index == 0 => {
                    self.write(session.room, &home::bytes(&registers, session.mask))?;
                }
                _ => set_registers(tid, &registers).map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Whether nobody is on his way home, or can be.
    fn is_free(&self, room: u64) -> bool {
        let inside = room..room + home::ROOM as u64;
        let is_inside = |thread: &Stopped| inside.contains(&thread.registers.rip);
        self.held.is_empty() && !self.stopped.iter().any(is_inside)
    }

    /// Clears what a tracer has left that died.
    pub(super) fn clear(&self, room: u64) -> Result<(), TraceError> {
        if !home::is_used(&self.read(room, home::ROOM)?) {
            return Ok(());
        }
        if !self.is_free(room) {
            return Err(TraceError::Busy("it is on its way back from a call"));
        }
        self.wipe(room)
    }

    /// From its end on: what is left at any time is known for what it is.
    fn wipe(&self, room: u64) -> Result<(), TraceError> {
        (0..home::ROOM)
            .step_by(home::WORD)
            .rev()
            .try_for_each(|at| self.write(room + at as u64, &[0; home::WORD]))
    }

    /// Writes down how the first thread finds back to where it is now.
    fn begin_calls(&mut self, tid: i32, room: u64) -> Result<(), TraceError> {
        self.clear(room)?;
        let mask = signal_mask(tid).map_err(|error| TraceError::of("read its mask", error))?;
        let registers = self.stopped.first().map(|thread| thread.registers);
        if let Some(registers) = registers {
            self.write(room, &home::bytes(&registers, mask))?;
        }
        self.session = Some(Session {
            mask,
            room,
            away: false,
            until: Instant::now() + MOST_CALLS,
            signals: Vec::new(),
        });
        Ok(())
    }

    /// Has the process make a system call, by way of this room at the end of its vDSO.
    pub(super) fn call(
        &mut self,
        room: u64,
        number: libc::c_long,
        arguments: [u64; 6],
    ) -> Result<u64, TraceError> {
        let Some(thread) = self.stopped.first() else {
            return Err(TraceError::Busy("the kernel holds all its threads"));
        };
        let tid = thread.tid;
        let mut call = thread.registers;
        call.rip = room;
        call.rax = number.cast_unsigned();
        // Not in a call: else the kernel would make the one anew that was interrupted.
        call.orig_rax = u64::MAX;
        [call.rdi, call.rsi, call.rdx, call.r10, call.r8, call.r9] = arguments;
        let first = self.session.is_none();
        if first {
            self.begin_calls(tid, room)?;
        }
        let Some(session) = &mut self.session else {
            return Err(TraceError::Busy("no calls are made in it"));
        };
        let mut stops = 0;
        // Not the mask first: nobody would put it back. From here on it finds home.
        let made = set_registers(tid, &call).and_then(|()| {
            if first {
                set_signal_mask(tid, NO_SIGNAL)?;
            }
            // To its beginning, and to its end.
            while stops < 2 {
                request(libc::PTRACE_SYSCALL, tid, 0)?;
                session.away = true;
                let news = wait_until(tid, session.until)?;
                session.away = news.is_none();
                match news {
                    Some(News::Call) => stops += 1,
                    Some(News::Signal(libc::SIGSTOP)) => session.signals.push(libc::SIGSTOP),
                    Some(News::Stopped | News::Group | News::Exec | News::Born) => {}
                    Some(News::Signal(signal)) => {
                        return Err(io::Error::other(format!("it got signal {signal}")));
                    }
                    Some(News::Over) => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
                    None => return Err(io::ErrorKind::TimedOut.into()),
                }
            }
            registers(tid)
        });
        if let Err(error) = &made
            && error.kind() == io::ErrorKind::TimedOut
        {
            return Err(TraceError::Busy("it does not go on"));
        }
        let made = made.map_err(|error| TraceError::of("make a call in it", error))?;
        let result = made.rax.cast_signed();
        if (-4095..0).contains(&result) {
            let errno = i32::try_from(-result).unwrap_or(libc::EIO);
            return Err(TraceError::Refused {
                what: "make a call in it",
                source: io::Error::from_raw_os_error(errno),
            });
        }
        Ok(made.rax)
    }

    /// Writes over anything, also where nobody may write: eight bytes at a time.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), TraceError> {
        let Some(thread) = self.stopped.first() else {
            return Err(TraceError::Busy("the kernel holds all its threads"));
        };
        let failed = |error| TraceError::of("write to its memory", error);
        for (index, chunk) in bytes.chunks(8).enumerate() {
            let at = address + 8 * index as u64;
            let mut word = if chunk.len() < 8 {
                peek(thread.tid, at).map_err(failed)?.to_ne_bytes()
            } else {
                [0; 8]
            };
            word[..chunk.len()].copy_from_slice(chunk);
            poke(thread.tid, at, u64::from_ne_bytes(word)).map_err(failed)?;
        }
        Ok(())
    }

    /// Reads.
    pub(super) fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, TraceError> {
        let Some(thread) = self.stopped.first() else {
            return Err(TraceError::Busy("the kernel holds all its threads"));
        };
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            let word = peek(thread.tid, address + bytes.len() as u64)
                .map_err(|error| TraceError::of("read its memory", error))?;
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl Tracee {
    /// Puts the first thread back to where it was before calls were made in it: stopped on its way
    /// out of the kernel, so that the kernel itself makes a call anew that it had interrupted.
    fn settle(&mut self) {
        let (Some(session), Some(thread)) = (self.session.take(), self.stopped.first()) else {
            return;
        };
        let tid = thread.tid;
        match put_back(tid, &thread.registers, &session) {
            Ok(Back::Stopped) => {
                // Nobody is there any more.
                if let Err(error) = self.wipe(session.room) {
                    tracing::debug!(tid, %error, "its vDSO is not as it was");
                }
            }
            // It finds home by itself, and stops then, to be let go: see `let_go`.
            Ok(Back::Away) => {
                self.stopped.remove(0);
                self.held.push(tid);
            }
            Err(error) => tracing::debug!(tid, %error, "it has ended"),
        }
        for signal in session.signals {
            // SAFETY: takes integers.
            unsafe { libc::syscall(libc::SYS_tgkill, self.pid, tid, signal) };
        }
    }
}

/// Where a thread is that was to be put back.
enum Back {
    Stopped,
    Away,
}

fn put_back(tid: i32, registers: &libc::user_regs_struct, session: &Session) -> io::Result<Back> {
    if session.away {
        request(libc::PTRACE_INTERRUPT, tid, 0)?;
        let until = Instant::now() + MOST_STOP;
        loop {
            match wait_until(tid, until)? {
                Some(News::Stopped | News::Group) => break,
                Some(News::Over) => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
                // At the beginning of a call other registers would make another one of it.
                Some(other) => request(libc::PTRACE_CONT, tid, other.signal())?,
                None => return Ok(Back::Away),
            }
        }
    }
    // Not the registers first: who is let go in between still restores the mask, and then all else.
    set_signal_mask(tid, session.mask)?;
    set_registers(tid, registers)?;
    request(libc::PTRACE_INTERRUPT, tid, 0)?;
    request(libc::PTRACE_CONT, tid, 0)?;
    let until = Instant::now() + MOST_STOP;
    loop {
        match wait_until(tid, until)? {
            Some(News::Stopped | News::Group) => return Ok(Back::Stopped),
            Some(News::Over) => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
            Some(other) => request(libc::PTRACE_CONT, tid, other.signal())?,
            None => return Ok(Back::Away),
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.settle();
        for thread in &self.stopped {
            if self.followed.contains(&thread.tid) {
                request(libc::PTRACE_SETOPTIONS, thread.tid, OPTIONS | FOLLOW).ok();
                let news = if thread.in_group {
                    News::Group
                } else {
                    News::Stopped
                };
                go_on(thread.tid, news);
            } else {
                let_go(thread.tid, News::Stopped);
            }
        }
        // What the kernel holds stops later, and is let go then: see `let_go`.
        for tid in &self.held {
            if let Ok(Some(news)) = wait(*tid, libc::WNOHANG) {
                if self.followed.contains(tid) {
                    go_on(*tid, news);
                } else {
                    let_go(*tid, news);
                }
            } else if !self.followed.contains(tid) {
                left().insert(*tid);
            }
        }
    }
}

/// Threads that are ours only until they stop: they are not followed, and are let go then.
fn left() -> MutexGuard<'static, BTreeSet<i32>> {
    static LEFT: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a thread go that nobody waits for any more.
pub(super) fn let_go(tid: i32, news: News) {
    left().remove(&tid);
    if news != News::Over {
        request(libc::PTRACE_DETACH, tid, news.signal()).ok();
    }
}

/// Has a thread that is followed go on; one that is stopped by a signal stays so.
pub(super) fn go_on(tid: i32, news: News) {
    let how = if news == News::Group {
        PTRACE_LISTEN
    } else {
        libc::PTRACE_CONT
    };
    if news != News::Over {
        request(how, tid, news.signal()).ok();
    }
}

/// Has a thread that is followed stop, to be let go.
pub(super) fn interrupt(tid: i32) {
    request(libc::PTRACE_INTERRUPT, tid, 0).ok();
}

/// What there is to say of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It has stopped, as it was told to.
    Stopped,
    /// It has stopped because its process is stopped.
    Group,
    /// It has stopped because it has a new child, or thread.
    Born,
    /// It has stopped at the beginning or the end of a system call.
    Call,
    /// It is about to take a signal.
    Signal(i32),
    /// It has stopped behind its exec.
    Exec,
    /// There is none any more.
    Over,
}

impl News {
    fn signal(self) -> i32 {
        match self {
            Self::Signal(signal) => signal,
            _ => 0,
        }
    }
}
/// The next thread of which there is news.
pub(super) fn wait_any() -> Option<(i32, News)> {
    let mut status = 0;
    // SAFETY: writes a status.
    let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) };
    (tid > 0).then(|| (tid, news(status)))
}

/// Waits for news of a thread; `None` if there is none until then.
fn wait_until(tid: i32, until: Instant) -> io::Result<Option<News>> {
    let mut looks = 0;
    loop {
        if let Some(news) = wait(tid, libc::WNOHANG)? {
            return Ok(Some(news));
        }
        looks += 1;
        if looks <= SPINS {
            thread::yield_now();
        } else if Instant::now() >= until {
            return Ok(None);
        } else {
            thread::sleep(LOOK);
        }
    }
}

fn wait(tid: i32, flags: i32) -> io::Result<Option<News>> {
    let mut status = 0;
    loop {
        // SAFETY: writes a status.
        let found = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | flags) };
        if found == 0 {
            return Ok(None);
        }
        if found > 0 {
            return Ok(Some(news(status)));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
}

fn news(status: i32) -> News {
    if !libc::WIFSTOPPED(status) {
        return News::Over;
    }
    match (status >> 16, libc::WSTOPSIG(status)) {
        (libc::PTRACE_EVENT_EXEC, _) => News::Exec,
        (libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE, _) => {
            News::Born
        }
        (
            libc::PTRACE_EVENT_STOP,
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU,
        ) => News::Group,
        // As asked for by PTRACE_O_TRACESYSGOOD.
        (0, signal) if signal & 0x80 != 0 => News::Call,
        (0, signal) => News::Signal(signal),
        _ => News::Stopped,
    }
}

/// `PTRACE_O_SUSPEND_SECCOMP` (include/uapi/linux/ptrace.h)
const SUSPEND_SECCOMP: i32 = 1 << 21;

/// `PTRACE_LISTEN` (include/uapi/linux/ptrace.h)
const PTRACE_LISTEN: libc::c_uint = 0x4208;

/// Of every thread that is ours.
const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD;

/// Of one that is followed, with all that come of it.
const FOLLOW: i32 = libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE;

/// Takes a process, which goes on, with all that come of it: they stop behind each exec.
pub(super) fn follow(pid: i32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, pid, OPTIONS | FOLLOW)
}

fn threads(pid: i32) -> Result<Vec<i32>, TraceError> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_none| TraceError::Gone)?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Whether a thread waits in the kernel for something that no signal ends: it runs nothing of its
/// own before it has stopped.
fn is_held(pid: i32, tid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ")?.1.chars().next())
        .is_none_or(|state| matches!(state, 'D' | 'Z' | 'X'))
}

/// Whether a process is in a cgroup that is frozen: it could be stopped, but makes no call until it is
/// thawed (`do_freezer_trap`, kernel/signal.c).
fn is_frozen(pid: i32) -> bool {
    let Ok(tree) = CgroupTree::find() else {
        return false;
    };
    let events = tree
        .of(&pid.to_string())
        .and_then(|path| fs::read_to_string(tree.folder(&path).join("cgroup.events")).ok());
    events.is_some_and(|events| events.lines().any(|line| line == "frozen 1"))
}

/// Whether this process traces another.
pub(super) fn is_ours(pid: u32) -> bool {
    let tid = i32::try_from(pid).unwrap_or(0);
    tracer(tid) == Some(std::process::id())
}

/// Who traces a thread.
fn tracer(tid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"))?;
    line.trim().parse().ok().filter(|pid| *pid != 0)
}

fn registers(tid: i32) -> io::Result<libc::user_regs_struct> {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::uninit();
    raw(libc::PTRACE_GETREGS, tid, 0, registers.as_mut_ptr().cast())?;
    // SAFETY: the kernel has filled it.
    Ok(unsafe { registers.assume_init() })
}

fn set_registers(tid: i32, registers: &libc::user_regs_struct) -> io::Result<()> {
    let registers = (&raw const *registers).cast_mut().cast();
    raw(libc::PTRACE_SETREGS, tid, 0, registers).map(drop)
}

fn signal_mask(tid: i32) -> io::Result<u64> {
    let mut mask = 0_u64;
    raw(
        libc::PTRACE_GETSIGMASK,
        tid,
        size_of::<u64>(),
        (&raw mut mask).cast(),
    )?;
    Ok(mask)
}

fn set_signal_mask(tid: i32, mut mask: u64) -> io::Result<()> {
    raw(
        libc::PTRACE_SETSIGMASK,
        tid,
        size_of::<u64>(),
        (&raw mut mask).cast(),
    )
    .map(drop)
}

/// The system call itself, which writes the word to where its data points.
fn peek(tid: i32, address: u64) -> io::Result<u64> {
    let mut word = 0_u64;
    // SAFETY: writes a word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::PTRACE_PEEKDATA,
            tid,
            address,
            &raw mut word,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(word)
}

fn poke(tid: i32, address: u64, word: u64) -> io::Result<()> {
    let address = usize::try_from(address).map_err(io::Error::other)?;
    let word = usize::try_from(word).map_err(io::Error::other)?;
    raw(
        libc::PTRACE_POKEDATA,
        tid,
        address,
        ptr::without_provenance_mut(word),
    )
    .map(drop)
}

fn request(request: libc::c_uint, tid: i32, data: i32) -> io::Result<()> {
    let data = usize::try_from(data).map_err(io::Error::other)?;
    raw(request, tid, 0, ptr::without_provenance_mut(data)).map(drop)
}

fn raw(
    request: libc::c_uint,
    tid: i32,
    address: usize,
    data: *mut libc::c_void,
) -> io::Result<libc::c_long> {
    let address = ptr::without_provenance_mut::<libc::c_void>(address);
    // SAFETY: what a request reads or writes at `data` is as large as it has to be; see the callers.
    let result = unsafe { libc::ptrace(request, tid, address, data) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
