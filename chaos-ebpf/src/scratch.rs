//! Room for one event that concerns a target.
//!
//! What a program keeps in here the verifier forgets, which is the point: numbers that it followed
//! through nested loops would make it look at every combination of them.

use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::{macros::map, maps::PerCpuArray};
use chaos_common::{
    Address, CallFacts, PacketFacts, PauseRequest, RuleConfig,
    limits::{PATH_BYTES, PLANS, RULES_PER_EVENT},
};

use crate::{
    atomics,
    bounds::masked,
    maps::PLANS_HELD,
    subject::{Who, now},
};

/// What the effect of a delay counts.
const MICROSECOND_NS: u64 = 1000;

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
    /// Which of its CPU's buffers it is.
    place: u64,
    /// How many rules the event meets: of `rules` so many are in use, or all.
    rules_len: u64,
    /// Who the task is, if a rule wants to know.
    who: Who,
    /// How long the event is to wait, in nanoseconds.
    wait_ns: u64,
    /// What is asked for when that is too long to keep a processor busy.
    request: PauseRequest,
    /// Where each path starts in `paths`.
    path_starts: [u64; PATHS],
    /// How many paths there are.
    paths_len: u64,
    /// What the program keeps of the event for its filters.
    note: u64,
    /// The dentry that the event is about, or one of two.
    dentry: u64,
    /// How many bytes it is to write, 0 if that can't be told.
    amount: u64,
    /// Number of the system call.
    call: u64,
    /// A number that the verifier is to forget.
    forgotten: u64,
    /// What is known of a system call, if a rule wants to know.
    facts: CallFacts,
    /// What is known of a packet.
    packet: PacketFacts,
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

/// The buffer of an event, for as long as it is claimed. Not null, so that `None` is: LLVM would move
/// the register of a buffer that there is not, which the verifier takes for a read.
///
/// What a loop's callback needs of it is handed over as a copy: a pointer to one that stands on the
/// stack keeps the verifier of Linux 7 from knowing which parts of the stack are still read, and then
/// it follows every way of a program for itself.
#[derive(Clone, Copy)]
pub struct Scratch(NonNull<Buffer>);

/// A claim to a buffer, which is given back when it is dropped.
pub struct Claim(Scratch);

impl Deref for Claim {
    type Target = Scratch;

    #[inline(always)]
    fn deref(&self) -> &Scratch {
        &self.0
    }
}

impl Claim {
    /// For a global function, which gives the buffer back: see [`Self::taken`].
    #[inline(always)]
    pub fn hand_over(self) -> u64 {
        ManuallyDrop::new(self).place()
    }

    /// What another function has handed over.
    #[inline(always)]
    pub fn taken(place: u64) -> Option<Self> {
        Scratch::at(place).map(Self)
    }
}

impl Drop for Claim {
    #[inline(always)]
    fn drop(&mut self) {
        // A plain store will do: nobody else writes it until it is free, and programs of other CPUs
        // never look at it.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: a map's value, and this program holds it.
        unsafe { (&raw mut (*self.0.0.as_ptr()).busy).write_volatile(0) };
    }
}

impl Scratch {
    /// An empty buffer; `None` when all of them are in use.
    #[inline(always)]
    pub fn claim() -> Option<Claim> {
        let mut index = 0;
        while index < BUFFERS {
            let buffer = EVENT_BUFFERS.get_ptr_mut(index)?;
            // SAFETY: a map's value.
            unsafe {
                if atomics::swap(&raw mut (*buffer).busy, 1) == 0 {
                    (&raw mut (*buffer).place).write_volatile(index.into());
                    (&raw mut (*buffer).rules_len).write_volatile(0);
                    (&raw mut (*buffer).wait_ns).write_volatile(0);
                    (&raw mut (*buffer).paths_len).write_volatile(0);
                    let event = (&raw const (*buffer).event).read_volatile();
                    (&raw mut (*buffer).event).write_volatile(event + 1);
                    return Some(Claim(Self(NonNull::new_unchecked(buffer))));
                }
            }
            index += 1;
        }
        None
    }

    /// Which of its CPU's buffers it is: what global functions are told of it. A pointer would be one to
    /// memory of any kind for them, and maps take values from such memory since Linux 6.2 only.
    #[inline(always)]
    pub fn place(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0.as_ptr()).place).read_volatile() }
    }

    /// The buffer at a place, which the caller of a global function has claimed.
    #[inline(always)]
    pub fn at(place: u64) -> Option<Self> {
        NonNull::new(EVENT_BUFFERS.get_ptr_mut(place as u32)?).map(Self)
    }

    /// Who the task is.
    #[inline(always)]
    pub fn who(&self) -> &Who {
        // SAFETY: a map's value, and this program holds it.
        unsafe { &(*self.0.as_ptr()).who }
    }

    /// Learns it for the event. Not on the stack, of which a program and what it calls have 512 bytes
    /// together.
    #[inline(always)]
    pub fn learn_who(&self) {
        // SAFETY: a map's value, and this program holds it.
        unsafe { (*self.0.as_ptr()).who.learn() };
    }

    /// No rule wants to know.
    #[inline(always)]
    pub fn forget_who(&self) {
        // SAFETY: a map's value, and this program holds it.
        unsafe { (*self.0.as_ptr()).who.forget() };
    }

    /// How long the event is to wait by now, in nanoseconds.
    #[inline(always)]
    pub fn wait_ns(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0.as_ptr()).wait_ns).read_volatile() }
    }

    /// Makes it wait for longer, as a rule wants it, but not for longer than the rule lives.
    #[inline(always)]
    pub fn add_wait(&self, rule: &RuleConfig) {
        let delay_ns = u64::from(rule.effect) * MICROSECOND_NS;
        let left_ns = rule.deadline_ns.saturating_sub(now());
        let wait_ns = self.wait_ns()
            + if delay_ns < left_ns {
                delay_ns
            } else {
                left_ns
            };
        // SAFETY: a map's value.
        unsafe {
            (&raw mut (*self.0.as_ptr()).wait_ns).write_volatile(wait_ns);
            (&raw mut (*self.0.as_ptr()).request.pause.plan).write_volatile(rule.plan);
        }
    }

    /// What is asked for when it waits for long; the plan is known.
    #[inline(always)]
    pub fn request(&self) -> *mut PauseRequest {
        // SAFETY: a map's value.
        unsafe { &raw mut (*self.0.as_ptr()).request }
    }

    /// How many rules the event meets and has room for.
    #[inline(always)]
    pub fn rules(&self) -> usize {
        // SAFETY: a map's value.
        let len = unsafe { (&raw const (*self.0.as_ptr()).rules_len).read_volatile() as usize };
        len.min(RULES_PER_EVENT)
    }

    /// The rule at a place in the order.
    #[inline(always)]
    pub fn rule(&self, index: usize) -> u32 {
        let index = masked::<{ RULES_PER_EVENT - 1 }>(index);
        // SAFETY: a map's value, and the index is masked.
        unsafe {
            (&raw const (*self.0.as_ptr()).rules)
                .cast::<u32>()
                .add(index)
                .read_volatile()
        }
    }

    /// Adds a rule; one too many is only counted.
    #[inline(always)]
    pub fn add(&self, rule: u32) {
        // SAFETY: a map's value, and the index is masked.
        unsafe {
            let len = (&raw const (*self.0.as_ptr()).rules_len).read_volatile();
            if len < RULES_PER_EVENT as u64 {
                let index = masked::<{ RULES_PER_EVENT - 1 }>(len as usize);
                (&raw mut (*self.0.as_ptr()).rules)
                    .cast::<u32>()
                    .add(index)
                    .write_volatile(rule);
            }
            (&raw mut (*self.0.as_ptr()).rules_len).write_volatile(len + 1);
        }
    }

    /// How many rules the event meets beyond those that it has room for.
    #[inline(always)]
    pub fn beyond(&self) -> u64 {
        // SAFETY: a map's value.
        let len = unsafe { (&raw const (*self.0.as_ptr()).rules_len).read_volatile() };
        len.saturating_sub(RULES_PER_EVENT as u64)
    }

    /// The word of a plan: read once for all rules of the plan that the event meets, so that they
    /// agree on whether it is armed.
    #[inline(always)]
    pub fn held_until(&self, plan: u32) -> u64 {
        let index = masked::<{ PLANS as usize - 1 }>(plan as usize);
        // SAFETY: a map's value, and the index is masked.
        unsafe {
            let event = (&raw const (*self.0.as_ptr()).event).read_volatile();
            let held = (&raw mut (*self.0.as_ptr()).held).cast::<Held>().add(index);
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
        unsafe { (&raw const (*self.0.as_ptr()).note).read_volatile() }
    }

    /// Keeps it.
    #[inline(always)]
    pub fn set_note(&self, note: u64) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).note).write_volatile(note) };
    }

    /// How many bytes the event is to write.
    #[inline(always)]
    pub fn amount(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0.as_ptr()).amount).read_volatile() }
    }

    /// Keeps it.
    #[inline(always)]
    pub fn set_amount(&self, bytes: u64) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).amount).write_volatile(bytes) };
    }

    /// The dentry that the event is about, for filters that want to know more of it.
    #[inline(always)]
    pub fn dentry(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0.as_ptr()).dentry).read_volatile() }
    }

    /// Keeps it.
    #[inline(always)]
    pub fn set_dentry(&self, dentry: u64) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).dentry).write_volatile(dentry) };
    }

    /// Number of the system call. To be asked again for each comparison: the verifier would follow
    /// what it has learnt from the last one.
    #[inline(always)]
    pub fn call(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0.as_ptr()).call).read_volatile() }
    }

    /// Keeps it.
    #[inline(always)]
    pub fn set_call(&self, call: u64) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).call).write_volatile(call) };
    }

    /// The same number, of which the verifier knows nothing any more: ways on which it has different
    /// values go on as one.
    #[inline(always)]
    pub fn forget(&self, number: u64) -> u64 {
        // SAFETY: a map's value.
        unsafe {
            let place = &raw mut (*self.0.as_ptr()).forgotten;
            place.write_volatile(number);
            place.read_volatile()
        }
    }

    /// What is known of a system call.
    #[inline(always)]
    pub fn facts(&self) -> &CallFacts {
        // SAFETY: a map's value, and this program holds it.
        unsafe { &(*self.0.as_ptr()).facts }
    }

    /// What is known of a packet.
    #[inline(always)]
    pub fn packet(&self) -> &PacketFacts {
        // SAFETY: a map's value, and this program holds it.
        unsafe { &(*self.0.as_ptr()).packet }
    }

    /// Keeps it. In here the verifier forgets which of the ways through the headers of a packet led to it, and
    /// does not follow the rest of a program once for each.
    #[inline(always)]
    pub fn set_packet(&self, facts: PacketFacts) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).packet).write_volatile(facts) };
    }

    /// Nothing is known of a system call, and it talks to nobody.
    #[inline(always)]
    pub fn forget_facts(&self) {
        // SAFETY: a map's value.
        unsafe {
            let facts = &raw mut (*self.0.as_ptr()).facts;
            (&raw mut (*facts).known).write_volatile(0);
            (&raw mut (*facts).port).write_volatile(0);
            (&raw mut (*facts).peer.family).write_volatile(0);
        }
    }

    /// More is known: bits of [`chaos_common::part`].
    #[inline(always)]
    pub fn know(&self, parts: u32) {
        // SAFETY: a map's value.
        unsafe {
            let known = &raw mut (*self.0.as_ptr()).facts.known;
            known.write_volatile(known.read_volatile() | parts);
        }
    }

    /// [`CallFacts::fd_kind`]
    #[inline(always)]
    pub fn set_fd_kind(&self, kind: u32) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).facts.fd_kind).write_volatile(kind) };
    }

    /// [`CallFacts::size`]
    #[inline(always)]
    pub fn set_size(&self, size: u64) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).facts.size).write_volatile(size) };
    }

    /// [`CallFacts::open_flags`]
    #[inline(always)]
    pub fn set_open_flags(&self, flags: u32) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).facts.open_flags).write_volatile(flags) };
    }

    /// [`CallFacts::peer`] and its port.
    #[inline(always)]
    pub fn set_peer(&self, peer: Address, port: u16) {
        // SAFETY: a map's value.
        unsafe {
            let facts = &raw mut (*self.0.as_ptr()).facts;
            (&raw mut (*facts).port).write_volatile(port.into());
            (&raw mut (*facts).peer.words[0]).write_volatile(peer.words[0]);
            (&raw mut (*facts).peer.words[1]).write_volatile(peer.words[1]);
            (&raw mut (*facts).peer.family).write_volatile(peer.family);
        }
    }

    /// How many paths there are.
    #[inline(always)]
    pub fn paths(&self) -> usize {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0.as_ptr()).paths_len).read_volatile() as usize }
    }

    /// Says how many there are.
    #[inline(always)]
    pub fn set_paths(&self, paths: usize) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0.as_ptr()).paths_len).write_volatile(paths as u64) };
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
        unsafe {
            (&raw mut (*self.0.as_ptr()).path_starts)
                .cast::<u64>()
                .add(path)
        }
    }

    /// A byte of a path; a whole name and a whole word fit behind every one of them.
    #[inline(always)]
    pub fn path_byte(&self, path: usize, at: usize) -> *mut u8 {
        let path = masked::<{ PATHS - 1 }>(path);
        let at = masked::<{ PATH_BYTES - 1 }>(at);
        // SAFETY: index and offset are masked.
        unsafe {
            (&raw mut (*self.0.as_ptr()).paths)
                .cast::<[u8; PATH_BYTES + NAME_BYTES + 9]>()
                .add(path)
                .cast::<u8>()
                .add(at)
        }
    }
}
