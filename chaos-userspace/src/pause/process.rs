//! The pauser's own program.

use std::{
    collections::HashMap as Table,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    process::ExitCode,
    time::{Duration, Instant},
};

use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use caps::{CapSet, Capability, CapsHashSet};
use chaos_common::{Pause, PauseRequest};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigHandler, SigSet, Signal, signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{ForkResult, fork},
};

use super::{
    READY, SUBCOMMAND, Watchdog,
    thread::{self, Change},
};
use crate::{boot, target::FIRST_PID_NAMESPACE};

/// How often it is looked whether the plans of those who sleep are held yet.
const TICK: Duration = Duration::from_millis(50);

/// A question that is older has been given up long ago.
const STALE_NS: u64 = 1_000_000_000;

/// How often it is said that somebody does not sleep.
const QUIET: Duration = Duration::from_secs(1);

/// Nobody waits for a trial for longer.
const TRIAL: Duration = Duration::from_secs(5);

/// What `struct pt_regs` has for a call that the kernel makes again, with the same number:
/// ERESTARTSYS, [`Pause::AGAIN`], ERESTARTNOHAND (include/linux/errno.h).
const MADE_AGAIN: [u64; 3] = [512, 513, 514];

/// Is the pauser, if this process was started as one: for the first line of a program that may need
/// one.
pub fn main_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    let fds: Vec<i32> = arguments.filter_map(|fd| fd.parse().ok()).collect();
    let Ok([asked, pauses, plans]) = <[i32; 3]>::try_from(fds) else {
        return Some(ExitCode::FAILURE);
    };
    // SAFETY: the owner has passed them on for this; who starts this by hand gets an error.
    let [asked, pauses, plans] =
        [asked, pauses, plans].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let mut pausing = match Pausing::ready(asked, pauses, plans) {
        Ok(pausing) => pausing,
        Err(error) => {
            // Nobody listens when this fails.
            write!(io::stdout(), "{error}").ok();
            return Some(ExitCode::FAILURE);
        }
    };
    Some(match pausing.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// Everybody who sleeps, or is about to.
struct Pausing {
    asked: RingBuf<MapData>,
    pauses: HashMap<MapData, u64, Pause>,
    plans: Array<MapData, u64>,
    children: SignalFd,
    watchdog: Watchdog,
    threads: Table<i32, Held>,
    complained: Option<Instant>,
}

/// A thread that this process has taken.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// As the key of [`Pause`].
    key: u64,
    pause: Pause,
    /// The program has had its answer in time: the call is not done yet.
    in_time: bool,
    stopped: bool,
}

impl Pausing {
    fn ready(asked: OwnedFd, pauses: OwnedFd, plans: OwnedFd) -> io::Result<Self> {
        let namespace = std::fs::metadata("/proc/self/ns/pid")?.ino();
        if namespace != FIRST_PID_NAMESPACE {
            return Err(io::Error::other("pids here are not the kernel's"));
        }
        for ignored in [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGPIPE,
        ] {
            // SAFETY: no handler is installed.
            unsafe { signal(ignored, SigHandler::SigIgn) }?;
        }
        // Before everybody else, where that may be said: a processor is kept busy until it comes.
        // SAFETY: takes integers.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
        drop_capabilities();
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        children.thread_block()?;
        let map = |fd| MapData::from_fd(fd).map_err(io::Error::other);
        let pausing = Self {
            asked: RingBuf::try_from(Map::RingBuf(map(asked)?)).map_err(io::Error::other)?,
            pauses: HashMap::try_from(Map::HashMap(map(pauses)?)).map_err(io::Error::other)?,
            plans: Array::try_from(Map::Array(map(plans)?)).map_err(io::Error::other)?,
            children: SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK)?,
            watchdog: Watchdog::new()?,
            threads: Table::new(),
            complained: None,
        };
        trial().map_err(|error| {
            io::Error::other(format!(
                "no thread can be stopped as by a debugger ({error}); that takes CAP_SYS_PTRACE, and \
                 kernel.yama.ptrace_scope below 3"
            ))
        })?;
        Ok(pausing)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(&[READY])?;
        out.flush()?;
        // The owner reads to the end.
        // SAFETY: nothing uses it any more.
        drop(unsafe { OwnedFd::from_raw_fd(libc::STDOUT_FILENO) });
        while self.owner_lives()? {
            while let Ok(Some(_)) = self.children.read_signal() {}
            while let Some((tid, change)) = thread::next_change() {
                self.heed(tid, change);
            }
            self.take_those_who_ask();
            self.let_go_of_those_who_are_due();
        }
        // The kernel lets everybody go.
        Ok(())
    }

    /// Waits until there is something to do.
    fn owner_lives(&mut self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.asked.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        let rest = self.rest();
        let timeout = match rest {
            None => {
                self.watchdog.rest()?;
                PollTimeout::NONE
            }
            Some(rest) => {
                self.watchdog.feed(rest)?;
                let rest = rest.as_nanos().div_ceil(1_000_000);
                PollTimeout::from(u16::try_from(rest).unwrap_or(u16::MAX))
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended = fds[0].any().unwrap_or(true);
        // Nothing is ever sent: it can only be read that there is no more.
        Ok(!ended || io::stdin().read(&mut [0])? != 0)
    }

    /// Until somebody is due, at the most a tick; `None` while nobody sleeps.
    fn rest(&self) -> Option<Duration> {
        let next = self
            .threads
            .values()
            .map(|held| held.pause.until_ns)
            .min()?;
        let rest = Duration::from_nanos(next.saturating_sub(boot::time_ns()));
        Some(rest.clamp(Duration::from_millis(1), TICK))
    }

    fn take_those_who_ask(&mut self) {
        while let Some(request) = self.next_request() {
            if boot::time_ns().saturating_sub(request.asked_ns) > STALE_NS {
                continue;
            }
            // The lower half is the thread.
            let Ok(tid) = i32::try_from(request.thread & 0xffff_ffff) else {
                continue;
            };
            self.take(tid, &request);
        }
    }

    fn next_request(&mut self) -> Option<PauseRequest> {
        let item = self.asked.next()?;
        if item.len() < size_of::<PauseRequest>() {
            return Some(PauseRequest::default());
        }
        // SAFETY: long enough, and every pattern of bits is one.
        Some(unsafe { item.as_ptr().cast::<PauseRequest>().read_unaligned() })
    }

    fn take(&mut self, tid: i32, request: &PauseRequest) {
        let PauseRequest {
            thread: key,
            asked_ns,
            mut pause,
        } = *request;
        let given_up = self.is_given_up(key, pause);
        let taken = match self.threads.get(&tid) {
            // It asked before, was answered too late, and has not come to stop yet: delays add up.
            Some(held) => {
                let rest_ns = held.pause.until_ns.saturating_sub(asked_ns);
                pause.until_ns = pause.until_ns.saturating_add(rest_ns);
                Ok(())
            }
            // What it waits for by itself would be interrupted.
            None if given_up && is_blocked(tid) => {
                return self.complain(tid, "it was too late, and is blocked");
            }
            // A thread that execs while others of its process sleep waits for their end with a lock
            // that is needed here: then this is over when the watchdog kills this process.
            None => self
                .watchdog
                .feed(TICK)
                .and_then(|()| thread::seize(tid))
                .and_then(|()| thread::interrupt(tid)),
        };
        pause.state = match &taken {
            Ok(()) => Pause::GRANTED,
            Err(_) => Pause::REFUSED,
        };
        let in_time = !given_up && self.answer(key, pause);
        match taken {
            Ok(()) => {
                let held = Held {
                    key,
                    pause,
                    in_time,
                    // It may have, when it was too late again.
                    stopped: self.threads.get(&tid).is_some_and(|held| held.stopped),
                };
                self.threads.insert(tid, held);
            }
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => self.complain(tid, &tracer(tid).unwrap_or_else(|| error.to_string())),
        }
    }

    /// Whether the program does not wait for the answer any more; perhaps its thread has asked again.
    fn is_given_up(&self, key: u64, asked: Pause) -> bool {
        !self.pauses.get(&key, 0).is_ok_and(|there| there == asked)
    }

    /// Answers; whether the program waits for it yet.
    fn answer(&mut self, key: u64, pause: Pause) -> bool {
        /// `BPF_EXIST` (include/uapi/linux/bpf.h)
        const ONLY_IF_THERE: u64 = 2;
        self.pauses.insert(key, pause, ONLY_IF_THERE).is_ok()
    }

    /// Says where the owner complains that a thread does not sleep, once a second at most.
    fn complain(&mut self, tid: i32, why: &str) {
        if self.complained.is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        self.complained = Some(Instant::now());
        // Nowhere to complain to when this fails.
        writeln!(
            io::stderr(),
            "kchaos: thread {tid} could not be made to sleep: {why}"
        )
        .ok();
    }

    fn heed(&mut self, tid: i32, change: Change) {
        match (change, self.threads.get(&tid).copied()) {
            (Change::Over, Some(held)) => {
                self.threads.remove(&tid);
                self.pauses.remove(&held.key).ok();
            }
            (Change::Signal(signal), Some(_)) => {
                thread::deliver(tid, signal).ok();
            }
            (Change::Stopped, Some(held)) => {
                self.stopped(tid, &held);
                self.threads.insert(
                    tid,
                    Held {
                        stopped: true,
                        ..held
                    },
                );
            }
            (_, None) => {}
        }
    }

    /// Corrects what the program will know of the call: it is made again, or not.
    fn stopped(&mut self, tid: i32, held: &Held) {
        let Ok(registers) = thread::registers(tid) else {
            return;
        };
        let error = registers.rax.wrapping_neg();
        if held.in_time {
            if error != u64::from(Pause::AGAIN) {
                self.pauses.remove(&held.key).ok();
            }
        } else if MADE_AGAIN.contains(&error) && registers.orig_rax == held.pause.call {
            // It has been decided, and has come to what it had to, before it began to wait.
            let pause = Pause {
                state: Pause::GRANTED,
                effect: 0,
                flags: 0,
                ..held.pause
            };
            self.pauses.insert(held.key, pause, 0).ok();
        }
    }

    fn let_go_of_those_who_are_due(&mut self) {
        let now_ns = boot::time_ns();
        let plans = &self.plans;
        self.threads.retain(|tid, held| {
            let is_held = plans
                .get(&held.pause.plan, 0)
                .is_ok_and(|until_ns| until_ns > now_ns);
            if !held.stopped || is_held && held.pause.until_ns > now_ns {
                return true;
            }
            // It fails for who is dead, of whom there will be news.
            thread::detach(*tid).is_err()
        });
    }
}

/// Whether this process can stop others: one of its own.
fn trial() -> io::Result<()> {
    let mut watchdog = Watchdog::new()?;
    watchdog.feed(TRIAL)?;
    // SAFETY: there is one thread.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            // SAFETY: takes integers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            loop {
                nix::unistd::pause();
            }
        }
        ForkResult::Parent { child } => child.as_raw(),
    };
    let stopped = thread::seize(child).and_then(|()| {
        thread::interrupt(child)?;
        // SAFETY: takes no pointer.
        let found = unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::__WALL) };
        if found < 0 {
            return Err(io::Error::last_os_error());
        }
        thread::detach(child)
    });
    // SAFETY: a child of ours, which has not been waited for.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), libc::__WALL);
    }
    watchdog.rest()?;
    stopped
}

/// Who traces a thread, for people.
fn tracer(tid: i32) -> Option<String> {
    let pid = status(tid, "TracerPid:")?;
    (pid != "0").then(|| format!("process {pid} traces it"))
}

/// Whether a thread waits for something, and a signal would wake it up.
fn is_blocked(tid: i32) -> bool {
    status(tid, "State:").is_some_and(|state| state.starts_with('S'))
}

/// A field of /proc/TID/status.
fn status(tid: i32, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(rest.trim().to_owned())
}

/// Keeps what stops others, and reads and writes maps.
fn drop_capabilities() {
    let keep: CapsHashSet = [Capability::CAP_SYS_PTRACE, Capability::CAP_BPF]
        .into_iter()
        .collect();
    for set in [CapSet::Effective, CapSet::Permitted] {
        if let Ok(have) = caps::read(None, set) {
            let less = have.intersection(&keep).copied().collect();
            caps::set(None, set, &less).ok();
        }
    }
    for set in [CapSet::Inheritable, CapSet::Ambient] {
        caps::clear(None, set).ok();
    }
}
