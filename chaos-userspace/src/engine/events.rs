//! Reads sampled events out of the ring buffer.

use std::fmt;

use aya::maps::{MapData, PerCpuArray, RingBuf};
use chaos_common::Event;

use super::{EngineError, maps::failed};

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
    pub(super) fn drain(&mut self) -> Vec<Event> {
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

/// An event of our version, or the part of a later one that we know.
fn decode(bytes: &[u8]) -> Option<Event> {
    let version = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let len = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
    if version < Event::VERSION || len < Event::LEN || usize::from(len) > bytes.len() {
        return None;
    }
    // SAFETY: long enough, and every pattern of bits is an Event.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
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
        assert_eq!(decode(&good), Some(event));
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
            Some(longer),
            "a later version has more fields"
        );
        let older = Event {
            version: 0,
            ..event
        };
        assert_eq!(decode(&bytes(&older)), None);
    }
}
