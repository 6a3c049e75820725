//! How records lie in the file: so that each is known to be whole, and the next one is found behind
//! a damaged one.
//!
//! ```text
//! mark (4 bytes) │ length, u32 │ CRC-32 of length and payload, u32 │ payload
//! ```
//!
//! Numbers are little-endian. The last byte of the mark is the version of the format.

const MARK: [u8; 4] = *b"kcj\x01";
const HEADER: usize = 12;

/// No payload is longer: a length beyond this is damage.
pub(super) const MAX_PAYLOAD: usize = 1 << 16;

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan<'a> {
    /// Payloads of the intact records, in their order.
    pub(super) payloads: Vec<&'a [u8]>,
    /// Where what is kept ends: behind it lies at most a record that was never finished.
    pub(super) end: usize,
    /// Bytes that belong to no intact record, nor to one that was never finished.
    pub(super) damaged: usize,
}

pub(super) fn encode(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let mut record = Vec::with_capacity(HEADER + payload.len());
    record.extend(MARK);
    record.extend(length);
    record.extend(checksum(length, payload).to_le_bytes());
    record.extend(payload);
    record
}

pub(super) fn scan(bytes: &[u8]) -> Scan<'_> {
    let mut scan = Scan::default();
    let mut at = 0;
    while at < bytes.len() {
        if let Some(payload) = record(&bytes[at..]) {
            scan.damaged += at - scan.end;
            scan.payloads.push(payload);
            at += HEADER + payload.len();
            scan.end = at;
        } else {
            at += 1;
        }
    }
    if !is_unfinished(&bytes[scan.end..]) {
        scan.damaged += bytes.len() - scan.end;
        scan.end = bytes.len();
    }
    scan
}

/// Whether this is how a record begins whose rest is missing, or room that nothing was written into:
/// what it would have said was not done. All of a record with a wrong checksum is damage.
fn is_unfinished(tail: &[u8]) -> bool {
    if tail.len() < MARK.len() {
        return MARK.starts_with(tail) || is_blank(tail);
    }
    let Some(rest) = tail.strip_prefix(&MARK) else {
        return is_blank(tail);
    };
    match rest.split_first_chunk::<4>() {
        None => true,
        Some((length, _)) => {
            let size = u32::from_le_bytes(*length) as usize;
            size <= MAX_PAYLOAD && tail.len() < HEADER + size
        }
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The payload of an intact record that starts here.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*length) as usize;
    if size > MAX_PAYLOAD {
        return None;
    }
    let payload = rest.get(..size)?;
    (checksum(*length, payload) == u32::from_le_bytes(*sum)).then_some(payload)
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn file(payloads: &[Vec<u8>]) -> Vec<u8> {
        payloads
            .iter()
            .flat_map(|payload| encode(payload))
            .collect()
    }

    /// Where each record ends.
    fn ends(payloads: &[Vec<u8>]) -> Vec<usize> {
        let mut end = 0;
        payloads
            .iter()
            .map(|payload| {
                end += HEADER + payload.len();
                end
            })
            .collect()
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        vec(vec(any::<u8>(), 0..60), 0..8)
    }

    proptest! {
        #[test]
        fn what_was_written_whole_is_read(payloads in payloads()) {
            let bytes = file(&payloads);
            let scan = scan(&bytes);
            prop_assert_eq!(scan.end, bytes.len());
            prop_assert_eq!(scan.damaged, 0);
            prop_assert_eq!(scan.payloads, payloads);
        }

        #[test]
        fn a_torn_tail_costs_only_the_last_record(payloads in payloads(), cut in any::<prop::sample::Index>()) {
            let bytes = file(&payloads);
            let cut = cut.index(bytes.len() + 1);
            let ends = ends(&payloads);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let scan = scan(&bytes[..cut]);
            prop_assert_eq!(scan.payloads, &payloads[..whole]);
            prop_assert_eq!(scan.end, whole.checked_sub(1).map_or(0, |last| ends[last]));
        }

        #[test]
        fn damage_costs_only_what_it_touches(
            payloads in payloads(),
            flips in vec((any::<prop::sample::Index>(), 1..=u8::MAX), 1..6),
        ) {
            let mut bytes = file(&payloads);
            prop_assume!(!bytes.is_empty());
            let whole = bytes.clone();
            for (at, bits) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            let ends = ends(&payloads);
            let scan = scan(&bytes);
            let mut start = 0;
            for (payload, end) in payloads.iter().zip(ends) {
                if bytes[start..end] == whole[start..end] {
                    prop_assert!(scan.payloads.contains(&payload.as_slice()));
                }
                start = end;
            }
            // Nothing is made up either.
            for payload in scan.payloads {
                prop_assert!(payloads.iter().any(|known| known.as_slice() == payload));
            }
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
            let scan = scan(&bytes);
            prop_assert!(scan.end <= bytes.len());
        }
    }
}
