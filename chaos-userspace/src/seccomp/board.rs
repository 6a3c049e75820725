//! The memory that kchaos and its guards share: rules, what is remembered of them, and the call that
//! is just being answered. It is a memfd, so that the next guard finds what the last one knew.

use std::{
    fs::File,
    io,
    ops::Deref,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use chaos_common::{Narrowing, RuleConfig, flags};
use libc::seccomp_notif;

use super::{
    mark::Mark,
    rule::Rule,
    sleepers::{Fate, SLEEPERS, Sleeper},
    threads::Threads,
};
use crate::{engine::RuleSpec, experiment::Experiment};

/// More than the highest number of a system call.
const CALLS: usize = 1024;

const RULES: usize = Experiment::MAX_FAULTS;

/// All zeros is a board without rules. Single words are read and written without an order between
/// them: one guard writes, and kchaos reads when it has heard from the guard, or of its end.
#[repr(C)]
pub(super) struct Board {
    /// The command's pid, while that is not known to have begun.
    pub(super) command: AtomicU32,
    /// Not 0 once the command's exec is over.
    pub(super) begun: AtomicU32,
    /// Not 0 once the faults have ended: every call is let go on.
    pub(super) over: AtomicU32,
    /// The session that the command was started in.
    pub(super) session: AtomicU32,
    /// The command's [`Mark`].
    mark: AtomicU64,
    /// Boot time until which kchaos is known to live.
    pub(super) held_until: AtomicU64,
    pub(super) flight: Flight,
    /// By the number of a call, the rules that want it.
    wanted: [AtomicU64; CALLS],
    pub(super) threads: Threads,
    rules: [Rule; RULES],
    /// Calls that were taken and decided, and wait.
    pub(super) sleepers: [Sleeper; SLEEPERS],
}

/// The one call that was taken from the listener, and neither answered nor put among the sleepers yet. The kernel gives it out
/// once, so whoever succeeds a dead guard has to find it here.
#[repr(C)]
pub(super) struct Flight {
    /// The kernel's own, written by it. Its first word is the id, 0 for none.
    call: [AtomicU64; size_of::<seccomp_notif>() / 8],
    /// [`Flight::UNDECIDED`] …
    pub(super) stage: AtomicU32,
    /// With [`Flight::DECIDED`]: the rule that ends it, or [`Board::NO_RULE`].
    rule: AtomicU32,
    /// With a rule: the event's ordinal.
    ordinal: AtomicU64,
    /// With [`Flight::DECIDED`]: the boot time until which it waits, or 0.
    due: AtomicU64,
    /// With [`Flight::DECIDED`]: the rules that have it wait, which is not counted yet, as bits.
    pub(super) delays: AtomicU64,
    /// Of these, by the rule's place: the event's ordinal.
    pub(super) ordinals: [AtomicU64; RULES],
}

const _: () = assert!(RULES <= 64, "bits of a word of `wanted`");
const _: () = assert!(size_of::<seccomp_notif>() == 80);

impl Flight {
    /// Nothing is decided about the call.
    pub(super) const UNDECIDED: u32 = 0;
    /// What becomes of it is known, and not counted yet.
    pub(super) const DECIDED: u32 = 1;

    /// Where the kernel may write the next call.
    pub(super) fn place(&self) -> *mut seccomp_notif {
        self.call[0].as_ptr().cast()
    }

    /// The call, if there is one.
    pub(super) fn call(&self) -> Option<seccomp_notif> {
        // SAFETY: plain words, and nobody writes them now.
        let call = unsafe { self.place().read() };
        (call.id != 0).then_some(call)
    }

    /// Keeps what was decided.
    pub(super) fn decide(&self, fate: Fate, delays: u64) {
        let (rule, ordinal) = fate.ends_by.unwrap_or((Board::NO_RULE, 0));
        self.rule.store(rule, Relaxed);
        self.ordinal.store(ordinal, Relaxed);
        self.due.store(fate.due.unwrap_or(0), Relaxed);
        self.delays.store(delays, Relaxed);
        self.stage.store(Self::DECIDED, Relaxed);
    }

    /// What was decided.
    pub(super) fn fate(&self) -> Fate {
        let (rule, due) = (self.rule.load(Relaxed), self.due.load(Relaxed));
        Fate {
            ends_by: (rule != Board::NO_RULE).then(|| (rule, self.ordinal.load(Relaxed))),
            due: (due != 0).then_some(due),
        }
    }

    /// Its end is about to be counted.
    pub(super) fn counted(&self) {
        self.rule.store(Board::NO_RULE, Relaxed);
    }

    /// Forgets the call, in this order: a call that is still seen has the stage that it had.
    pub(super) fn clear(&self) {
        for word in &self.call {
            word.store(0, Relaxed);
        }
        self.stage.store(Self::UNDECIDED, Relaxed);
    }
}

impl Board {
    /// No rule's place.
    pub(super) const NO_RULE: u32 = u32::MAX;

    /// Which rules want a call, as bits.
    pub(super) fn wanted(&self, call: i32) -> u64 {
        usize::try_from(call)
            .ok()
            .and_then(|call| self.wanted.get(call))
            .map_or(0, |rules| rules.load(Relaxed))
    }

    pub(super) fn rule(&self, index: u32) -> &Rule {
        &self.rules[index as usize % RULES]
    }

    /// Kills what has the mark and is in the run's session.
    pub(super) fn kill_attached(&self) {
        let mark = Mark(self.mark.load(Relaxed));
        mark.kill_in_session(self.session.load(Relaxed));
    }
}

/// A board, mapped.
#[derive(Debug)]
pub(super) struct Shared {
    at: NonNull<Board>,
    memory: OwnedFd,
}

// SAFETY: what changes behind the pointer are atomic words.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes one with these rules, by the numbers of the calls that each wants.
    pub(super) fn create(rules: &[(RuleSpec, Vec<u32>)]) -> io::Result<Self> {
        // SAFETY: a name that ends in a zero.
        let fd = unsafe { libc::memfd_create(c"kchaos-calls".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
        let memory = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        memory
            .set_len(size_of::<Board>() as u64)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EFBIG) => {
                    let need = size_of::<Board>().div_ceil(1024);
                    io::Error::other(format!(
                        "the limit of file sizes (ulimit -f) is below the {need} KiB that kchaos and \
                         its guard share: raise it for kchaos"
                    ))
                }
                _ => error,
            })?;
        let board = Self::map(memory.into())?;
        for (index, (spec, calls)) in rules.iter().enumerate().take(RULES) {
            // SAFETY: inside of the mapping, which nobody shares yet.
            unsafe {
                let rule = &raw mut (*board.at.as_ptr()).rules[index];
                let mut config = RuleConfig { ..spec.config };
                if let Some(list) = &spec.replay {
                    config.flags |= flags::REPLAY;
                    let place = &mut (*rule).replay;
                    let len = list.len().min(place.len());
                    place[..len].copy_from_slice(&list[..len]);
                    (&raw mut (*rule).replay_len).write(u32::try_from(len).unwrap_or(0));
                }
                if let Some(call) = spec.call {
                    config.flags |= flags::CALL;
                    (&raw mut (*rule).call).write(call);
                }
                if let Some(path) = spec.path {
                    config.flags |= flags::PATH;
                    (&raw mut (*rule).path).write(path);
                }
                (&raw mut (*rule).config).write(config);
                if let Some(narrowing) = spec.narrowing {
                    (&raw mut (*rule).narrowing).write(Narrowing { ..narrowing });
                    (&raw mut (*rule).is_narrowed).write(1);
                }
            }
            for call in calls {
                if let Some(wanted) = board.wanted.get(*call as usize) {
                    wanted.fetch_or(1 << index, Relaxed);
                }
            }
        }
        board.mark.store(Mark::this().0, Relaxed);
        // SAFETY: takes an integer.
        let session = unsafe { libc::getsid(0) };
        board.session.store(session.unsigned_abs(), Relaxed);
        Ok(board)
    }

    /// Maps one that is there.
    pub(super) fn map(memory: OwnedFd) -> io::Result<Self> {
        // Anything shorter would end whoever looks at what is not there.
        if nix::sys::stat::fstat(&memory)?.st_size.unsigned_abs() < size_of::<Board>() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping wherever the kernel likes.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Board>(),
                access,
                libc::MAP_SHARED,
                memory.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { at, memory })
    }
}

impl Deref for Shared {
    type Target = Board;

    fn deref(&self) -> &Board {
        // SAFETY: mapped for as long as this lives, and every pattern of bits is a board.
        unsafe { self.at.as_ref() }
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping, which nobody can look at any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), size_of::<Board>()) };
    }
}
