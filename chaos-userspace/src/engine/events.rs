//! Reads sampled events out of the ring buffer.

use std::{fmt, ops::Range};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use chaos_common::{Event, Stack};

use super::{EngineError, maps::failed};

/// What a program sent of a sampled injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// The event itself.
    Event(Event),
    /// Where its thread was in user space ([`Stack::frames`]), behind it, if the rule asks for that.
    Stack {
        /// [`Event::rule`]
        rule: u32,
        /// [`Event::ordinal`]
        ordinal: u64,
        /// The innermost first; empty if the kernel could not tell.
        frames: Vec<u64>,
    },
}

/// The reading end of the ring buffer.
pub(super) struct Events {
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    /// Events that could not be understood.
    unreadable: u64,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("unreadable", &self.unreadable)
            .finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>, lost: PerCpuArray<MapData, u64>) -> Self {
        Self {
            ring,
            lost,
            unreadable: 0,
        }
    }

    /// Everything that has come since the last call.
    pub(super) fn drain(&mut self) -> Vec<Sampled> {
        let mut events = Vec::new();
        while let Some(item) = self.ring.next() {
            match decode(&item) {
                Some(event) => events.push(event),
                None => self.unreadable += 1,
            }
        }
        events
    }

    /// Events that were sampled but did not arrive: no room in the buffer, or not understood.
    pub(super) fn lost(&self) -> Result<u64, EngineError> {
        let values = self
            .lost
            .get(&0, 0)
            .map_err(|error| failed("EVENTS_LOST", &error))?;
        Ok(values.iter().sum::<u64>() + self.unreadable)
    }
}

/// A record of our version, or the part of a later one that we know.
fn decode(bytes: &[u8]) -> Option<Sampled> {
    let version = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let len = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
    if usize::from(len) > bytes.len() {
        return None;
    }
    if version >= Stack::VERSION && len >= Stack::LEN {
        // SAFETY: long enough, and every pattern of bits is a Stack.
        let stack = unsafe { bytes.as_ptr().cast::<Stack>().read_unaligned() };
        return Some(Sampled::Stack {
            rule: stack.rule,
            ordinal: stack.ordinal,
            frames: frames(&stack)?,
        });
    }
    if !(Event::VERSION..Stack::VERSION).contains(&version) || len < Event::LEN {
        return None;
    }
    // SAFETY: long enough, and every pattern of bits is an Event.
    Some(Sampled::Event(unsafe {
        bytes.as_ptr().cast::<Event>().read_unaligned()
    }))
}

/// Where code of a process can be, on x86-64 with five levels of page tables. A worker of the kernel,
/// which has no stack there, is said to be at 0; and where a function uses the frame pointer for
/// something else, what stands in the frame may be anything.
const USER_SPACE: Range<u64> = 1..1 << 56;

/// The frames that a stack says it has, as far as they can be such.
fn frames(stack: &Stack) -> Option<Vec<u64>> {
    let bytes = usize::try_from(stack.bytes).unwrap_or(0);
    if !bytes.is_multiple_of(size_of::<u64>()) {
        return None;
    }
    let frames = stack.frames.get(..bytes / size_of::<u64>())?.iter();
    let frames = frames.take_while(|frame| USER_SPACE.contains(frame));
    Some(frames.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(event: &Event) -> Vec<u8> {
        // SAFETY: an Event has no padding.
        let bytes = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(event).cast::<u8>(), size_of::<Event>())
        };
        bytes.to_vec()
    }

    #[test]
    fn only_whole_events_of_a_known_version_are_decoded() {
        let event = Event {
            version: Event::VERSION,
            len: Event::LEN,
            rule: 7,
            ordinal: 3,
            ..Event::default()
        };
        let good = bytes(&event);
        assert_eq!(decode(&good), Some(Sampled::Event(event)));
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), None, "{length}");
        }
        let longer = Event {
            len: Event::LEN + 8,
            ..event
        };
        let mut more = bytes(&longer);
        assert_eq!(decode(&more), None, "it says that it is longer than it is");
        more.extend([0; 8]);
        assert_eq!(
            decode(&more),
            Some(Sampled::Event(longer)),
            "a later version has more fields"
        );
        let older = Event {
            version: 0,
            ..event
        };
        assert_eq!(decode(&bytes(&older)), None);
    }

    #[test]
    fn a_stack_is_as_long_as_it_says_and_no_longer_than_it_can_be() {
        let good = Stack {
            version: Stack::VERSION,
            len: Stack::LEN,
            rule: 7,
            ordinal: 3,
            bytes: 16,
            frames: std::array::from_fn(|index| index as u64 + 5),
        };
        let decoded = |stack: Stack| {
            // SAFETY: it has no padding.
            let bytes = unsafe {
                std::slice::from_raw_parts((&raw const stack).cast::<u8>(), size_of::<Stack>())
            };
            match decode(bytes)? {
                Sampled::Stack {
                    rule: 7,
                    ordinal: 3,
                    frames,
                } => Some(frames),
                other => panic!("{other:?}"),
            }
        };
        let with = |bytes| {
            let mut stack = good;
            stack.bytes = bytes;
            decoded(stack)
        };
        assert_eq!(with(16), Some(vec![5, 6]));
        assert_eq!(with(256).map(|frames| frames.len()), Some(32));
        for none in [0, -14, i64::MIN] {
            assert_eq!(with(none), Some(Vec::new()), "it could not be told");
        }
        for bad in [264, 12, i64::MAX] {
            assert_eq!(with(bad), None, "{bad}");
        }
        let mut wild = good;
        wild.frames[1] = u64::from_ne_bytes(*b"any text");
        assert_eq!(decoded(wild), Some(vec![5]), "no code is there");
        wild.frames[0] = 0;
        assert_eq!(decoded(wild), Some(Vec::new()), "a worker of the kernel");
        for len in [0, Event::LEN, Stack::LEN - 1, Stack::LEN + 1] {
            let mut stack = good;
            stack.len = len;
            assert_eq!(decoded(stack), None, "{len}");
        }
    }
}
