//! The page of code, and where in it everything lies.

use std::{arch::global_asm, mem::offset_of, slice};

use super::control::{Base, Entry};

/// Of a page.
pub(super) const PAGE: usize = 0x1000;

/// The longest that the first instructions of a function may be.
pub(super) const LONGEST: usize = 32;

/// What a page of code of this kchaos begins with.
const MAGIC: [u8; 8] = *b"kc_clock";

/// Another layout gets another number: an older kchaos leaves what it does not know.
const VERSION: u32 = 1;

const BASES_AT: usize = 0x100;

/// A function of the vDSO that is redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Function {
    /// `clock_gettime`
    ClockGettime,
    /// `gettimeofday`
    Gettimeofday,
    /// `time`
    Time,
}

impl Function {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::ClockGettime, Self::Gettimeofday, Self::Time];

    /// Its name in the vDSO on x86-64; there is another one without the prefix.
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::ClockGettime => "__vdso_clock_gettime",
            Self::Gettimeofday => "__vdso_gettimeofday",
            Self::Time => "__vdso_time",
        }
    }

    /// Where its first instructions lie in the page, followed by a jump behind them.
    pub(super) const fn trampoline(self) -> usize {
        match self {
            Self::ClockGettime => 0xc00,
            Self::Gettimeofday => 0xd00,
            Self::Time => 0xe00,
        }
    }

    /// Where it goes instead.
    pub(super) fn entry(self) -> usize {
        let entry = match self {
            Self::ClockGettime => &raw const kchaos_clock_stub_clock_gettime,
            Self::Gettimeofday => &raw const kchaos_clock_stub_gettimeofday,
            Self::Time => &raw const kchaos_clock_stub_time,
        };
        entry.addr() - (&raw const kchaos_clock_stub_start).addr()
    }
}

/// The bytes of a function that are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Site {
    /// Where they are, in the process.
    pub(super) address: u64,
    /// How many; 0 is no site.
    pub(super) length: u64,
    pub(super) original: [u8; LONGEST],
}

/// The beginning of a page of code: enough to undo it by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 8],
    version: u32,
    /// Who has put it there.
    pub(super) owner_pid: u32,
    pub(super) owner_start: u64,
    /// Of the control page behind it, which a child shares.
    pub(super) family: u64,
    /// Which rules concern this process: bits. A child has its own.
    pub(super) slots: u64,
    pub(super) sites: [Site; Function::ALL.len()],
}

const _: () = assert!(size_of::<Header>() <= BASES_AT);

impl Header {
    /// The header of a new page.
    pub(super) fn new(owner: (u32, u64), family: u64, sites: [Site; 3]) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            owner_pid: owner.0,
            owner_start: owner.1,
            family,
            slots: 0,
            sites,
        }
    }

    /// Reads one, if it is one.
    pub(super) fn read(page: &[u8]) -> Option<Self> {
        let bytes = page.get(..size_of::<Self>())?;
        // SAFETY: long enough, and every pattern of bits is one.
        let header = unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() };
        (header.magic == MAGIC && header.version == VERSION).then_some(header)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: plain data without padding: every field begins where the one before it ends.
        unsafe { slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }
}

/// Where the word with the slots is.
pub(super) const SLOTS_AT: usize = offset_of!(Header, slots);

/// A page with this header, and these trampolines, by their function.
pub(super) fn page(header: &Header, trampolines: &[(Function, Vec<u8>)]) -> Vec<u8> {
    // SAFETY: the assembler has put both labels into one section, a page apart.
    let template = unsafe { slice::from_raw_parts(&raw const kchaos_clock_stub_start, PAGE) };
    let mut page = template.to_vec();
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, header.bytes());
    for (function, bytes) in trampolines {
        put(function.trampoline(), bytes);
    }
    page
}

unsafe extern "C" {
    static kchaos_clock_stub_start: u8;
    static kchaos_clock_stub_clock_gettime: u8;
    static kchaos_clock_stub_gettimeofday: u8;
    static kchaos_clock_stub_time: u8;
}

global_asm!(
    include_str!("stub.s"),
    slots = const SLOTS_AT,
    bases = const BASES_AT,
    realtime = const Base::Realtime as usize,
    tai = const Base::Tai as usize,
    monotonic = const Base::Monotonic as usize,
    raw = const Base::Raw as usize,
    boottime = const Base::Boottime as usize,
    none = const 0xff,
    until = const offset_of!(Entry, until),
    from = const offset_of!(Entry, from),
    offset = const offset_of!(Entry, offset),
    rate = const offset_of!(Entry, rate),
    step = const offset_of!(Entry, step),
    seconds = const offset_of!(Entry, rate),
    nanoseconds = const offset_of!(Entry, step),
    every = const offset_of!(Entry, every),
    times = const offset_of!(Entry, times),
    hit = const offset_of!(Entry, hit),
    flags = const offset_of!(Entry, flags),
    speeds = const Entry::SPEEDS,
    clock_gettime = const Function::ClockGettime.trampoline(),
    gettimeofday = const Function::Gettimeofday.trampoline(),
    time = const Function::Time.trampoline(),
);

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd as _, ptr};

    use super::*;
    use crate::vdso::control::{Bend, Control};

    /// 2026, in nanoseconds.
    const NOW: i64 = 1_795_000_000_000_000_000;

    /// The page of code beside its control page, in this process, with a clock that stands at [`NOW`].
    fn stub(
        slots: u64,
    ) -> (
        unsafe extern "C" fn(i32, *mut libc::timespec) -> i32,
        Control,
    ) {
        let mut header = Header::new((0, 0), 0, <[Site; 3]>::default());
        header.slots = slots;
        let (seconds, nanos) = (NOW / 1_000_000_000, NOW % 1_000_000_000);
        // mov rax, SECONDS; mov [rsi], rax; mov qword ptr [rsi + 8], NANOS; xor eax, eax; ret
        let mut clock = vec![0x48, 0xb8];
        clock.extend(seconds.to_le_bytes());
        clock.extend([0x48, 0x89, 0x06, 0x48, 0xc7, 0x46, 0x08]);
        clock.extend(i32::try_from(nanos).unwrap().to_le_bytes());
        clock.extend([0x31, 0xc0, 0xc3]);
        let code = page(&header, &[(Function::ClockGettime, clock)]);
        let file = File::from(
            nix::sys::memfd::memfd_create(c"stub", nix::sys::memfd::MFdFlags::empty()).unwrap(),
        );
        file.set_len(PAGE as u64).unwrap();
        // SAFETY: two new pages, of which the second becomes the file, and code that leaves nothing
        // behind. They stay until the process ends.
        let entry = unsafe {
            let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
            let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let place = libc::mmap(ptr::null_mut(), 2 * PAGE, all, private, -1, 0);
            assert_ne!(place, libc::MAP_FAILED);
            ptr::copy_nonoverlapping(code.as_ptr(), place.cast(), PAGE);
            let behind = place.byte_add(PAGE);
            let shared = libc::MAP_SHARED | libc::MAP_FIXED;
            let data = libc::PROT_READ | libc::PROT_WRITE;
            let fd = file.as_raw_fd();
            assert_eq!(libc::mmap(behind, PAGE, data, shared, fd, 0), behind);
            std::mem::transmute::<
                *mut libc::c_void,
                unsafe extern "C" fn(i32, *mut libc::timespec) -> i32,
            >(place.byte_add(Function::ClockGettime.entry()))
        };
        (entry, Control::map(&file).unwrap())
    }

    fn read(bends: &[Bend], from: i64) -> i64 {
        let (entry, control) = stub((1 << bends.len()) - 1);
        for (slot, bend) in bends.iter().enumerate() {
            control.clear(slot);
            control.set(Base::Realtime, slot, bend, from);
            control.keep(Base::Realtime, slot, i64::MAX);
        }
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        for _ in 0..2 {
            // The second time it is hit already, and may take the short way.
            // SAFETY: it writes a timespec.
            assert_eq!(unsafe { entry(libc::CLOCK_REALTIME, &raw mut time) }, 0);
        }
        assert!((0..1_000_000_000).contains(&time.tv_nsec));
        time.tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec)
    }

    fn offset(offset: i64) -> Bend {
        Bend {
            offset,
            ..Bend::default()
        }
    }

    fn steps(step: i64, times: i64) -> Bend {
        Bend {
            step,
            every: 1,
            times,
            flags: Entry::STEPS,
            ..Bend::default()
        }
    }

    #[test]
    fn sums_stay_at_their_ends() {
        let century = 36_500 * 86_400 * 1_000_000_000;
        assert_eq!(read(&[offset(century)], NOW), NOW + century);
        assert_eq!(
            read(&[offset(century), offset(century)], NOW),
            NOW + 2 * century
        );
        assert_eq!(read(&[offset(century); 3], NOW), i64::MAX);
        assert_eq!(read(&[offset(century); 8], NOW), i64::MAX);
        // Nothing is before zero.
        assert_eq!(read(&[offset(-century)], NOW), 0);
        assert_eq!(read(&[offset(-century); 8], NOW), 0);
        assert_eq!(read(&[offset(-5), offset(7)], NOW), NOW + 2);
    }

    #[test]
    fn steps_and_speeds_stay_at_their_ends() {
        assert_eq!(read(&[steps(7, 3)], NOW), NOW + 7);
        assert_eq!(read(&[steps(7, 3)], NOW - 100), NOW + 21);
        let often = NOW - 1_000_000_000_000;
        assert_eq!(read(&[steps(1 << 50, i64::MAX)], often), i64::MAX);
        assert_eq!(read(&[steps(-(1 << 50), i64::MAX)], often), 0);
        let speed = |rate| Bend {
            rate,
            flags: Entry::SPEEDS,
            ..Bend::default()
        };
        assert_eq!(read(&[speed(1 << 32)], NOW - 1000), NOW + 1000);
        assert_eq!(read(&[speed(-1 << 32)], NOW - 1000), NOW - 1000);
        assert_eq!(read(&[speed(1 << 60)], NOW - (1 << 60)), i64::MAX);
        assert_eq!(read(&[speed(-(1 << 60))], NOW - (1 << 60)), 0);
    }
}
