//! The page that the stub reads its rules from, shared by a process and its children.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicI64, AtomicU32,
        Ordering::{Relaxed, Release},
    },
};

use serde::{Deserialize, Serialize};

use super::stub::PAGE;

/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// How many rules one process can have.
pub(super) const SLOTS: usize = 8;

/// A clock that others are derived from, with a zero of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum Base {
    /// `CLOCK_REALTIME`, coarse and for alarms as well
    Realtime = 0,
    /// `CLOCK_TAI`
    Tai = 1,
    /// `CLOCK_MONOTONIC`, and coarse
    Monotonic = 2,
    /// `CLOCK_MONOTONIC_RAW`
    Raw = 3,
    /// `CLOCK_BOOTTIME`, and for alarms
    Boottime = 4,
}

impl Base {
    pub(super) const ALL: [Self; 5] = [
        Self::Realtime,
        Self::Tai,
        Self::Monotonic,
        Self::Raw,
        Self::Boottime,
    ];

    /// What the kernel says, whatever anybody has done to this process's vDSO.
    pub(super) fn now(self) -> i64 {
        let id = match self {
            Self::Realtime => libc::CLOCK_REALTIME,
            Self::Tai => libc::CLOCK_TAI,
            Self::Monotonic => libc::CLOCK_MONOTONIC,
            Self::Raw => libc::CLOCK_MONOTONIC_RAW,
            Self::Boottime => libc::CLOCK_BOOTTIME,
        };
        ask_kernel(id)
    }
}

/// How much earlier the coarse clocks are than the others now: they go by ticks.
pub(super) fn coarse_lag_ns() -> u64 {
    let coarse = ask_kernel(libc::CLOCK_MONOTONIC_COARSE);
    u64::try_from(Base::Monotonic.now() - coarse).unwrap_or(0)
}

fn ask_kernel(clock: libc::clockid_t) -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes a timespec; the clocks that are asked for are there since Linux 3.10.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut now) };
    now.tv_sec * SECOND + now.tv_nsec
}

/// What one rule does to one base. All times are readings of that base, in nanoseconds.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Entry {
    /// Deadline or end of the lease, whichever is first. It is the switch: written last, and alone
    /// as long as the rule goes on.
    pub(super) until: AtomicI64,
    /// From where on speed and steps are counted. Nothing is bent before.
    pub(super) from: AtomicI64,
    /// Added.
    pub(super) offset: AtomicI64,
    /// By how much it is faster than the base, in 2^-32: -2^32 stands still. Without flags, the whole
    /// seconds of the offset.
    pub(super) rate: AtomicI64,
    /// Added at the beginning, and each so often. Without flags, the nanoseconds of the offset beyond
    /// its seconds.
    pub(super) step: AtomicI64,
    /// How often; not 0 where the flag is set.
    pub(super) every: AtomicI64,
    /// How many steps at most.
    pub(super) times: AtomicI64,
    /// Set by the stub when it has bent a reading.
    pub(super) hit: AtomicU32,
    /// [`Self::SPEEDS`], [`Self::STEPS`]
    pub(super) flags: AtomicU32,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    /// It sets the speed, if no rule before it does.
    pub(super) const SPEEDS: u32 = 1;
    /// It makes steps.
    pub(super) const STEPS: u32 = 2;
}

/// A control page as its writer sees it.
#[repr(C)]
#[derive(Debug)]
struct Page {
    entries: [[Entry; SLOTS]; Base::ALL.len()],
}

const _: () = assert!(size_of::<Page>() <= PAGE);
// The stub shifts by 9.
const _: () = assert!(size_of::<[Entry; SLOTS]>() == 1 << 9);

/// What a rule does to a base, before it has a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bend {
    pub(super) offset: i64,
    pub(super) rate: i64,
    pub(super) step: i64,
    pub(super) every: i64,
    pub(super) times: i64,
    pub(super) flags: u32,
}

/// A control page, mapped here as well: it stays readable when the process is gone.
#[derive(Debug)]
pub(super) struct Control {
    page: NonNull<Page>,
}

impl Control {
    /// Maps the page that this file is.
    pub(super) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: a new mapping.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast::<Page>())
            .map(|page| Self { page })
            .ok_or_else(|| io::Error::other("mapped at zero"))
    }

    fn entry(&self, base: Base, slot: usize) -> &Entry {
        // SAFETY: mapped until this is dropped, and made of atomics, which others may write.
        let page = unsafe { self.page.as_ref() };
        &page.entries[base as usize][slot]
    }

    /// Says what a slot does from `from` on. It must be off.
    pub(super) fn set(&self, base: Base, slot: usize, bend: &Bend, from: i64) {
        let entry = self.entry(base, slot);
        entry.from.store(from, Relaxed);
        entry.offset.store(bend.offset, Relaxed);
        let (rate, step) = if bend.flags == 0 {
            (
                bend.offset.div_euclid(SECOND),
                bend.offset.rem_euclid(SECOND),
            )
        } else {
            (bend.rate, bend.step)
        };
        entry.rate.store(rate, Relaxed);
        entry.step.store(step, Relaxed);
        entry.every.store(bend.every.max(1), Relaxed);
        entry.times.store(bend.times, Relaxed);
        entry.flags.store(bend.flags, Relaxed);
    }

    /// Says until when a slot is on, in its base; whoever sees this sees what was set before.
    pub(super) fn keep(&self, base: Base, slot: usize, until: i64) {
        self.entry(base, slot).until.store(until, Release);
    }

    /// Ends a slot at once.
    pub(super) fn end(&self, slot: usize) {
        for base in Base::ALL {
            self.keep(base, slot, i64::MIN);
        }
    }

    /// Ends a slot of one base at once.
    pub(super) fn end_base(&self, base: Base, slot: usize) {
        self.keep(base, slot, i64::MIN);
    }

    /// Makes a slot fit for another rule.
    pub(super) fn clear(&self, slot: usize) {
        self.end(slot);
        for base in Base::ALL {
            self.entry(base, slot).hit.store(0, Relaxed);
        }
    }

    /// Whether a reading was bent by a slot.
    pub(super) fn was_hit(&self, slot: usize) -> bool {
        Base::ALL
            .iter()
            .any(|base| self.entry(*base, slot).hit.load(Relaxed) != 0)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // SAFETY: mapped by this, and nobody has a reference to it any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}
