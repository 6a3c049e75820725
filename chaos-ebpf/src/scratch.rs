//! Room for one event that concerns a target.
//!
//! What a program keeps in here the verifier forgets, which is the point: numbers that it followed
//! through nested loops would make it look at every combination of them.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::{macros::map, maps::PerCpuArray};
use chaos_common::limits::{PATH_BYTES, PLANS, RULES_PER_EVENT};

use crate::{atomics, bounds::masked, maps::PLANS_HELD, subject::Who};

/// How many tasks may be preempted on one CPU while each of them holds a buffer.
const BUFFERS: u32 = 4;

/// The longest name of one component (`NAME_MAX`); a power of two less one, because lengths are
/// bounded by masking.
pub const NAME_BYTES: usize = 255;

/// An event is about two paths at most: those of a rename.
pub const PATHS: usize = 2;

/// A plan's word, as the event with this number has read it.
#[repr(C)]
struct Held {
    event: u64,
    word: u64,
}

#[repr(C)]
struct Buffer {
    /// Not zero while a program uses the buffer: a program may be preempted on a preemptible kernel,
    /// and the next task on this CPU then runs it as well.
    busy: u64,
    /// How many of `rules` are in use.
    rules_len: u64,
    /// Who the task is, if a rule wants to know.
    who: Who,
    /// How long the event is to wait, in nanoseconds.
    wait_ns: u64,
    /// Where each path starts in `paths`.
    path_starts: [u64; PATHS],
    /// How many paths there are.
    paths_len: u64,
    /// What the program keeps of the event for its filters.
    note: u64,
    /// Number of the event that the buffer is used for: what is left of an earlier one bears another.
    event: u64,
    /// Numbers of the rules that the event meets, outermost target first.
    rules: [u32; RULES_PER_EVENT],
    /// What each plan's word was when the event first asked.
    held: [Held; PLANS as usize],
    /// A path stands in the last bytes before [`PATH_BYTES`]; what follows is room for whole names
    /// and whole chunks that are compared.
    paths: [[u8; PATH_BYTES + NAME_BYTES + 9]; PATHS],
}

#[map]
static EVENT_BUFFERS: PerCpuArray<Buffer> = PerCpuArray::with_max_entries(BUFFERS, 0);

/// A claimed buffer; given back when it is dropped.
pub struct Scratch(*mut Buffer);

impl Drop for Scratch {
    #[inline(always)]
    fn drop(&mut self) {
        // A plain store will do: nobody else writes it until it is free, and programs of other CPUs
        // never look at it.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: a map's value, and this program holds it.
        unsafe { (&raw mut (*self.0).busy).write_volatile(0) };
    }
}

impl Scratch {
    /// An empty buffer; `None` when all of them are in use.
    #[inline(always)]
    pub fn claim() -> Option<Self> {
        let mut index = 0;
        while index < BUFFERS {
            let buffer = EVENT_BUFFERS.get_ptr_mut(index)?;
            // SAFETY: a map's value.
            unsafe {
                if atomics::swap(&raw mut (*buffer).busy, 1) == 0 {
                    (&raw mut (*buffer).rules_len).write_volatile(0);
                    (&raw mut (*buffer).wait_ns).write_volatile(0);
                    (&raw mut (*buffer).paths_len).write_volatile(0);
                    let event = (&raw const (*buffer).event).read_volatile();
                    (&raw mut (*buffer).event).write_volatile(event + 1);
                    return Some(Self(buffer));
                }
            }
            index += 1;
        }
        None
    }

    /// Who the task is.
    #[inline(always)]
    pub fn who(&self) -> &Who {
        // SAFETY: a map's value, and this program holds it.
        unsafe { &(*self.0).who }
    }

    /// Sets it for the event. Not on the stack, of which a program and its callback have 512 bytes
    /// together.
    #[inline(always)]
    pub fn set_who(&self, who: Who) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0).who).write_volatile(who) };
    }

    /// How long the event is to wait by now, in nanoseconds.
    #[inline(always)]
    pub fn wait_ns(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0).wait_ns).read_volatile() }
    }

    /// Makes it wait for longer.
    #[inline(always)]
    pub fn add_wait(&self, ns: u64) {
        let wait_ns = self.wait_ns() + ns;
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0).wait_ns).write_volatile(wait_ns) };
    }

    /// How many rules the event meets.
    #[inline(always)]
    pub fn rules(&self) -> usize {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0).rules_len).read_volatile() as usize }
    }

    /// The rule at a place in the order.
    #[inline(always)]
    pub fn rule(&self, index: usize) -> u32 {
        let index = masked::<{ RULES_PER_EVENT - 1 }>(index);
        // SAFETY: a map's value, and the index is masked.
        unsafe {
            (&raw const (*self.0).rules)
                .cast::<u32>()
                .add(index)
                .read_volatile()
        }
    }

    /// Adds a rule; one too many is dropped.
    #[inline(always)]
    pub fn add(&self, rule: u32) {
        let len = self.rules();
        if len >= RULES_PER_EVENT {
            return;
        }
        let index = masked::<{ RULES_PER_EVENT - 1 }>(len);
        // SAFETY: a map's value, and the index is masked.
        unsafe {
            (&raw mut (*self.0).rules)
                .cast::<u32>()
                .add(index)
                .write_volatile(rule);
            (&raw mut (*self.0).rules_len).write_volatile(len as u64 + 1);
        }
    }

    /// The word of a plan: read once for all rules of the plan that the event meets, so that they
    /// agree on whether it is armed.
    #[inline(always)]
    pub fn held_until(&self, plan: u32) -> u64 {
        let index = masked::<{ PLANS as usize - 1 }>(plan as usize);
        // SAFETY: a map's value, and the index is masked.
        unsafe {
            let event = (&raw const (*self.0).event).read_volatile();
            let held = (&raw mut (*self.0).held).cast::<Held>().add(index);
            if (&raw const (*held).event).read_volatile() == event {
                return (&raw const (*held).word).read_volatile();
            }
            let word = PLANS_HELD
                .get(plan)
                .map_or(0, |word| core::ptr::read_volatile(word));
            (&raw mut (*held).event).write_volatile(event);
            (&raw mut (*held).word).write_volatile(word);
            word
        }
    }

    /// What the program keeps of the event for its filters, where the verifier does not follow it.
    #[inline(always)]
    pub fn note(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0).note).read_volatile() }
    }

    /// Keeps it.
    #[inline(always)]
    pub fn set_note(&self, note: u64) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0).note).write_volatile(note) };
    }

    /// How many paths there are.
    #[inline(always)]
    pub fn paths(&self) -> usize {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0).paths_len).read_volatile() as usize }
    }

    /// Says how many there are.
    #[inline(always)]
    pub fn set_paths(&self, paths: usize) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0).paths_len).write_volatile(paths as u64) };
    }

    /// Where a path starts, at most [`PATH_BYTES`].
    #[inline(always)]
    pub fn path_start(&self, path: usize) -> usize {
        // SAFETY: a map's value, and the index is masked.
        unsafe { self.start_of(path).read_volatile() as usize }
    }

    /// Begins an empty path, with a slash behind it.
    #[inline(always)]
    pub fn begin_path(&self, path: usize) {
        self.set_path_start(path, PATH_BYTES);
        let last = self.path_byte(path, PATH_BYTES - 1).cast::<[u8; 2]>();
        // SAFETY: behind the last byte that is masked lies room.
        unsafe { (*last)[1] = b'/' };
    }

    /// Moves the start of a path.
    #[inline(always)]
    pub fn set_path_start(&self, path: usize, start: usize) {
        // SAFETY: a map's value, and the index is masked.
        unsafe { self.start_of(path).write_volatile(start as u64) };
    }

    #[inline(always)]
    fn start_of(&self, path: usize) -> *mut u64 {
        let path = masked::<{ PATHS - 1 }>(path);
        // SAFETY: the index is masked.
        unsafe { (&raw mut (*self.0).path_starts).cast::<u64>().add(path) }
    }

    /// A byte of a path; a whole name and a whole word fit behind every one of them.
    #[inline(always)]
    pub fn path_byte(&self, path: usize, at: usize) -> *mut u8 {
        let path = masked::<{ PATHS - 1 }>(path);
        let at = masked::<{ PATH_BYTES - 1 }>(at);
        // SAFETY: index and offset are masked.
        unsafe {
            (&raw mut (*self.0).paths)
                .cast::<[u8; PATH_BYTES + NAME_BYTES + 9]>()
                .add(path)
                .cast::<u8>()
                .add(at)
        }
    }
}
