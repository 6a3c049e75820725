//! What a link remembers between packets, and what one packet takes with it to its device.

use chaos_common::{
    LinkConfig, LinkMemory, LinkState, Passage, Stream, Travel, link::distribution, travel,
};

use crate::{atomics, bounds::masked, maps::DELAYS, plane::Hit, subject::Packet};

/// The memory of one link.
struct Memory(*mut LinkState);

impl LinkMemory for Memory {
    #[inline(always)]
    fn last(&self, stream: Stream) -> u32 {
        let place = masked::<7>(stream as usize);
        // SAFETY: a map's value, and no stream has a number beyond its words.
        unsafe {
            (&raw const (*self.0).last)
                .cast::<u32>()
                .add(place)
                .read_volatile()
        }
    }

    #[inline(always)]
    fn keep(&self, stream: Stream, number: u32) {
        let place = masked::<7>(stream as usize);
        // SAFETY: as above.
        unsafe {
            (&raw mut (*self.0).last)
                .cast::<u32>()
                .add(place)
                .write_volatile(number);
        };
    }

    #[inline(always)]
    fn is_bad(&self) -> bool {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0).bad).read_volatile() != 0 }
    }

    #[inline(always)]
    fn turn(&self, bad: bool) {
        // SAFETY: a map's value.
        unsafe { (&raw mut (*self.0).bad).write_volatile(u32::from(bad)) };
    }

    #[inline(always)]
    fn busy_until(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { (&raw const (*self.0).busy_until_ns).read_volatile() }
    }

    #[inline(always)]
    fn occupy(&self, seen: u64, next: u64) -> Result<(), u64> {
        // SAFETY: a map's value.
        let found =
            unsafe { atomics::compare_exchange(&raw mut (*self.0).busy_until_ns, seen, next) };
        if found == seen { Ok(()) } else { Err(found) }
    }

    #[inline(always)]
    fn count(&self) -> u64 {
        // SAFETY: a map's value.
        unsafe { atomics::fetch_add(&raw mut (*self.0).packets, 1) + 1 }
    }

    #[inline(always)]
    fn table(&self, distribution: u32, index: u32) -> i32 {
        let Some(table) = DELAYS.get(distribution) else {
            return 0;
        };
        let index = masked::<{ distribution::ENTRIES - 1 }>(index as usize);
        // SAFETY: the index is masked.
        i32::from(unsafe { table.as_ptr().add(index).read() })
    }
}

/// What becomes of a packet that a rule hits, whose link this is. Not looked up in here: an answer that there is
/// none would be one with a journey left undefined, which LLVM moves about before it is asked for, and the verifier
/// takes for a read.
#[inline(always)]
pub fn passage(
    hit: &Hit,
    link: &LinkConfig,
    state: *mut LinkState,
    now_ns: u64,
    bytes: u32,
) -> Travel {
    let packet = Passage {
        seed: hit.rule.seed,
        identity: hit.rule.identity,
        ordinal: hit.ordinal,
        now_ns,
        bytes,
    };
    travel(link, &packet, &Memory(state))
}

/// What a packet takes with it to the device, in its control block, which goes with it from the program that
/// picks it to the one that sees it next (`struct qdisc_skb_cb`; 6.1 to 7.x).
#[derive(Clone, Copy)]
pub struct Ticket {
    /// [`Ticket::LOST`] and others
    pub what: u32,
    /// When it goes on, in nanoseconds of the monotonic clock.
    pub due_ns: u64,
    /// Which bit changes.
    pub bit: u32,
}

impl Ticket {
    /// It ends here.
    pub const LOST: u32 = 1;
    /// There is one more of it.
    pub const TWICE: u32 = 2;
    /// A bit of it changes, and its receiver's kernel notices.
    pub const DAMAGED: u32 = 4;
    /// A bit of it changes, and nobody can notice but who reads it.
    pub const CHANGED: u32 = 8;
    /// It arrives, and does not leave.
    pub const ARRIVES: u32 = 16;
    /// All of them.
    pub const ALL: u32 = 31;
    /// A ticket, and nothing that somebody else has left in the block.
    const VALID: u32 = 0x6b63_0000;

    /// Gives it to a packet.
    #[inline(always)]
    pub fn give(self, packet: &Packet<'_>) {
        let skb = packet.0.skb;
        // SAFETY: the program's own context.
        unsafe {
            (&raw mut (*skb).cb[0]).write_volatile(Self::VALID | self.what);
            (&raw mut (*skb).cb[1]).write_volatile(self.due_ns as u32);
            (&raw mut (*skb).cb[2]).write_volatile((self.due_ns >> 32) as u32);
            (&raw mut (*skb).cb[3]).write_volatile(self.bit);
        }
    }

    /// The one that it has.
    #[inline(always)]
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let skb = packet.0.skb;
        // SAFETY: the program's own context.
        let [what, low, high, bit] = unsafe {
            [
                (&raw const (*skb).cb[0]).read_volatile(),
                (&raw const (*skb).cb[1]).read_volatile(),
                (&raw const (*skb).cb[2]).read_volatile(),
                (&raw const (*skb).cb[3]).read_volatile(),
            ]
        };
        (what & !Self::ALL == Self::VALID).then_some(Self {
            what: what & Self::ALL,
            due_ns: u64::from(high) << 32 | u64::from(low),
            bit,
        })
    }
}
