//! Sampled events, as they come through the ring buffer.

use crate::limits::{COMM_BYTES, STACK_FRAMES};

/// One injection. Programs send only as many as the rule's sampling allows; counters are complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// [`Event::VERSION`] of the program that sent it.
    pub version: u16,
    /// Bytes of the whole event: what follows the known fields belongs to a later version.
    pub len: u16,
    /// The rule's number.
    pub rule: u32,
    /// Which of the rule's matching events it was, from 1.
    pub ordinal: u64,
    /// Boot time in nanoseconds.
    pub time_ns: u64,
    /// The cgroup of the task, or of the socket.
    pub cgroup: u64,
    /// Process in the first pid namespace; 0 for packets.
    pub pid: u32,
    /// Thread in the first pid namespace; 0 for packets.
    pub tid: u32,
    /// [`crate::Hook`]
    pub hook: u32,
    /// What was done, as [`crate::RuleConfig::effect`].
    pub effect: u32,
    /// By hook: the number of the system call, or the length of the packet.
    pub detail: u64,
    /// Name of the thread, filled up with zeros, as words of this machine; zeros for packets.
    pub comm: [u64; COMM_BYTES / 8],
    /// How a packet begins, from its network header on, filled up with zeros; zeros for tasks.
    pub head: [u64; Event::HEAD_WORDS],
}

impl Event {
    /// Of [`Event::head`].
    pub const HEAD_WORDS: usize = 6;
    /// An IPv6 header and two ports.
    pub const HEAD_BYTES: u32 = 44;
    /// What of a shorter packet is given: an IPv4 header without options, two ports and more.
    pub const SHORT_HEAD_BYTES: u32 = 28;
    /// Raised with every change of a field's meaning.
    pub const VERSION: u16 = 1;
    /// Size in bytes.
    #[expect(clippy::cast_possible_truncation, reason = "asserted below")]
    pub const LEN: u16 = size_of::<Self>() as u16;
}

/// Where the thread of an [`Event`] was in user space, sent behind that by rules with
/// [`crate::flags::STACK`]. A record of its own, so that the others stay short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stack {
    /// [`Stack::VERSION`] of the program that sent it, in the place of [`Event::version`].
    pub version: u16,
    /// Bytes of the whole record.
    pub len: u16,
    /// [`Event::rule`]
    pub rule: u32,
    /// [`Event::ordinal`]
    pub ordinal: u64,
    /// Bytes of `frames` that there are, 8 for each; what the helper returned if it is negative.
    pub bytes: i64,
    /// The instruction behind the system call, and then the addresses to which the thread was to
    /// return, the innermost first.
    pub frames: [u64; STACK_FRAMES],
}

impl Stack {
    /// Raised with every change of a field's meaning. No version of an event is as high.
    pub const VERSION: u16 = 0x8001;
    /// Size in bytes.
    #[expect(clippy::cast_possible_truncation, reason = "asserted below")]
    pub const LEN: u16 = size_of::<Self>() as u16;
}

const _: () = assert!(size_of::<Event>() == 120);
const _: () = assert!(size_of::<Stack>() == 24 + 8 * STACK_FRAMES);
