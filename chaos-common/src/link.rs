//! What becomes of a packet on a link: the model of `tc-netem(8)`, without a kernel.

pub mod late;

use crate::roll;

/// What a link does: the value of an optional map. Shares are thresholds: 0 is never, 2^32 is always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LinkConfig {
    /// How long a packet is on its way, in nanoseconds; at most [`LinkConfig::LONGEST_NS`].
    pub delay_ns: u64,
    /// By how much that changes, in nanoseconds; as much at most.
    pub jitter_ns: u64,
    /// Bytes a second; 0 is no limit.
    pub byte_rate: u64,
    /// How far the rate may run ahead after a pause, in nanoseconds.
    pub burst_ns: u64,
    /// A packet that would have to wait longer for the rate than so many nanoseconds is lost.
    pub queue_ns: u64,
    /// Lost, while the link is good.
    pub loss: u64,
    /// Lost, while it is bad.
    pub loss_in_bad: u64,
    /// A good link becomes bad; 0 for a link that is always good.
    pub to_bad: u64,
    /// A bad one becomes good.
    pub to_good: u64,
    /// Arrives twice.
    pub duplicate: u64,
    /// One bit changes.
    pub corrupt: u64,
    /// Is not delayed.
    pub reorder: u64,
    /// Of so many packets the last one is lost; 0 is none.
    pub every: u32,
    /// [`distribution`]
    pub distribution: u32,
    /// How much of each random number is the one before, of 2^32.
    pub correlation: u32,
    /// [`LinkConfig::SILENT`]
    pub flags: u32,
}

impl LinkConfig {
    /// A minute: numbers below stay within 64 bits.
    pub const LONGEST_NS: u64 = 60_000_000_000;
    /// The checksum fits what has changed.
    pub const SILENT: u32 = 1;
}

/// How delays are distributed.
pub mod distribution {
    /// Evenly; the others have a table each.
    pub const UNIFORM: u32 = 0;
    /// By Gauss.
    pub const NORMAL: u32 = 1;
    /// By Pareto.
    pub const PARETO: u32 = 2;
    /// A quarter and three quarters of them.
    pub const PARETO_NORMAL: u32 = 3;
    /// Entries of a table; a power of two, because programs bound an index by masking.
    pub const ENTRIES: usize = 4096;
    /// What an entry is divided by (`NETEM_DIST_SCALE`, `include/uapi/linux/pkt_sched.h`).
    pub const SCALE_BITS: u32 = 13;
}

/// What a link remembers. Created with its rule, then written by programs only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LinkState {
    /// When the last packet will have gone, in nanoseconds of the monotonic clock.
    pub busy_until_ns: u64,
    /// How many packets have come.
    pub packets: u64,
    /// The last random number of each [`Stream`].
    pub last: [u32; Stream::COUNT],
    /// Not zero while the link is bad.
    pub bad: u32,
}

impl LinkState {
    /// Of a link that no packet has come to yet: as if there had been one before, because the first numbers depend
    /// on it.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a roll has 32 bits")]
    pub fn begin(seed: u64, identity: u32) -> Self {
        let mut state = Self::default();
        for (stream, last) in state.last.iter_mut().enumerate() {
            *last = roll(seed ^ key(stream as u64), identity, 0) as u32;
        }
        state
    }
}

/// What a random number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The delay.
    Delay,
    /// Whether it is lost.
    Loss,
    /// Whether it arrives twice.
    Duplicate,
    /// Whether a bit changes.
    Corrupt,
    /// Whether it overtakes.
    Reorder,
    /// Whether the link becomes good or bad. Of this and the next none depends on the one before.
    Turn,
    /// Which bit changes.
    Bit,
}

impl Stream {
    /// How many there are.
    pub const COUNT: usize = 7;
}

/// What a link remembers, as programs see it. Two packets on two processors may see the same, but for
/// the rate, of which no two get the same time.
pub trait LinkMemory {
    /// [`LinkState::last`]
    fn last(&self, stream: Stream) -> u32;
    /// Keeps it.
    fn keep(&self, stream: Stream, number: u32);
    /// [`LinkState::bad`]
    fn is_bad(&self) -> bool;
    /// Keeps it.
    fn turn(&self, bad: bool);
    /// One more packet has come; how many there are by now.
    fn count(&self) -> u64;
    /// [`LinkState::busy_until_ns`]
    fn busy_until(&self) -> u64;
    /// Moves it from `seen` to `next`, unless somebody else has moved it; then what they have made of it is
    /// returned.
    fn occupy(&self, seen: u64, next: u64) -> Result<(), u64>;
    /// An entry of the table of a distribution; the index is below [`distribution::ENTRIES`].
    fn table(&self, distribution: u32, index: u32) -> i32;
}

/// Keeps the numbers of streams apart. Any that are far from each other: a roll mixes them well.
#[inline(always)]
const fn key(stream: u64) -> u64 {
    (stream + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Travel {
    /// It does not arrive.
    pub lost: bool,
    /// It arrives twice.
    pub duplicate: bool,
    /// One bit changes …
    pub corrupt: bool,
    /// … and which one, this number tells.
    pub bit: u32,
    /// How long it is on its way, in nanoseconds.
    pub delay_ns: u64,
}

/// Which packet it is.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    /// [`crate::RuleConfig::seed`]
    pub seed: u64,
    /// [`crate::RuleConfig::identity`]
    pub identity: u32,
    /// Which of the packets of its rule, from 1.
    pub ordinal: u64,
    /// Monotonic time in nanoseconds.
    pub now_ns: u64,
    /// Its length, as it goes over the wire.
    pub bytes: u32,
}

impl Passage {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a roll has 32 bits")]
    fn random(&self, stream: Stream) -> u32 {
        roll(self.seed ^ key(stream as u64), self.identity, self.ordinal) as u32
    }

    /// `get_crandom` (`net/sched/sch_netem.c`).
    #[inline(always)]
    fn correlated(&self, link: &LinkConfig, stream: Stream, memory: &impl LinkMemory) -> u32 {
        let fresh = self.random(stream);
        if link.correlation == 0 {
            return fresh;
        }
        let share = u64::from(link.correlation);
        let new = u64::from(fresh) * ((1 << 32) - share);
        let old = u64::from(memory.last(stream)) * share;
        let number = ((new + old) >> 32) as u32;
        memory.keep(stream, number);
        number
    }

    #[inline(always)]
    fn chance(
        &self,
        link: &LinkConfig,
        threshold: u64,
        stream: Stream,
        memory: &impl LinkMemory,
    ) -> bool {
        threshold != 0 && u64::from(self.correlated(link, stream, memory)) < threshold
    }
}

/// Sends a packet over a link.
#[inline(always)]
pub fn travel(link: &LinkConfig, packet: &Passage, memory: &impl LinkMemory) -> Travel {
    let mut travel = Travel::default();
    if is_lost(link, packet, memory) {
        travel.lost = true;
        return travel;
    }
    travel.duplicate = packet.chance(link, link.duplicate, Stream::Duplicate, memory);
    if packet.chance(link, link.corrupt, Stream::Corrupt, memory) {
        travel.corrupt = true;
        travel.bit = packet.random(Stream::Bit);
    }
    let Some(wait_ns) = transmission(link, packet, memory) else {
        travel.lost = true;
        return travel;
    };
    travel.delay_ns = wait_ns;
    if !packet.chance(link, link.reorder, Stream::Reorder, memory) {
        travel.delay_ns += propagation(link, packet, memory);
    }
    travel
}

#[inline(always)]
fn is_lost(link: &LinkConfig, packet: &Passage, memory: &impl LinkMemory) -> bool {
    if link.every != 0 && memory.count().is_multiple_of(u64::from(link.every)) {
        return true;
    }
    let mut threshold = link.loss;
    if link.to_bad != 0 {
        // As netem's: the state changes first, and the packet is judged by the new one.
        let turn = u64::from(packet.random(Stream::Turn));
        let mut bad = memory.is_bad();
        if turn < if bad { link.to_good } else { link.to_bad } {
            bad = !bad;
            memory.turn(bad);
        }
        if bad {
            threshold = link.loss_in_bad;
        }
    }
    packet.chance(link, threshold, Stream::Loss, memory)
}

/// So often somebody else may be faster before a packet takes the time that it has seen.
const ATTEMPTS: u32 = 4;

/// How long a packet waits until all of it is on the wire; `None` when it finds no place in the queue.
#[inline(always)]
fn transmission(link: &LinkConfig, packet: &Passage, memory: &impl LinkMemory) -> Option<u64> {
    /// A second.
    const SECOND_NS: u64 = 1_000_000_000;
    if link.byte_rate == 0 {
        return Some(0);
    }
    let takes = u64::from(packet.bytes) * SECOND_NS / link.byte_rate;
    let earliest = packet.now_ns.saturating_sub(link.burst_ns);
    let mut seen = memory.busy_until();
    let mut attempt = 0;
    loop {
        let begins = if seen > earliest { seen } else { earliest };
        let ends = begins.saturating_add(takes);
        let waits = ends.saturating_sub(packet.now_ns);
        if waits > link.queue_ns {
            return None;
        }
        attempt += 1;
        match memory.occupy(seen, ends) {
            Err(found) if attempt < ATTEMPTS => seen = found,
            _ => return Some(waits),
        }
    }
}

/// `tabledist` (`net/sched/sch_netem.c`), but that no delay is below 0.
#[inline(always)]
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a minute of nanoseconds has 36 bits, an entry 16, and what is below 0 becomes 0"
)]
fn propagation(link: &LinkConfig, packet: &Passage, memory: &impl LinkMemory) -> u64 {
    if link.jitter_ns == 0 {
        return link.delay_ns;
    }
    let number = packet.correlated(link, Stream::Delay, memory);
    let mean = link.delay_ns as i64;
    let delay = if link.distribution == distribution::UNIFORM {
        let width = link.jitter_ns * 2;
        let (high, low) = (width >> 32, width & 0xffff_ffff);
        let random = u64::from(number);
        let within = high * random + ((low * random) >> 32);
        mean - link.jitter_ns as i64 + within as i64
    } else {
        let index = number >> (u32::BITS - distribution::ENTRIES.trailing_zeros());
        let entry = i64::from(memory.table(link.distribution, index));
        mean + ((link.jitter_ns as i64 * entry) >> distribution::SCALE_BITS)
    };
    if delay < 0 { 0 } else { delay as u64 }
}

const _: () = assert!(size_of::<LinkConfig>() == 112);
const _: () = assert!(size_of::<LinkState>() == 48);

#[cfg(test)]
mod tests;
