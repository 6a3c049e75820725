//! What a rule wants of an answer of a DNS server, and what is known of one (RFC 1035, 4).

use crate::Filtered;

/// Types of questions that a rule can name.
pub const TYPES: usize = 6;

/// What a rule wants of an answer: the value of an optional map. Its names are in a map of their own
/// ([`NameKey`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DnsFilter {
    /// Bits of [`dns_wants`].
    pub wants: u32,
    /// How many of the types count; none is every type.
    pub types_len: u32,
    /// Types of questions, as IANA numbers them.
    pub types: [u32; TYPES],
}

/// Bits of [`DnsFilter::wants`].
pub mod dns_wants {
    /// The rule has names.
    pub const NAMES: u32 = 1;
    /// Names that it does not have are wanted, too: all of them are exceptions.
    pub const OTHERS: u32 = 1 << 1;
}

/// What a rule's answers say: the value of an optional map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DnsAnswer {
    /// Which of the addresses there are: bits of [`Self::V4`] and [`Self::V6`]. Of the other family there is none.
    pub families: u32,
    /// For how many seconds it may be remembered.
    pub ttl: u32,
    /// As on the wire.
    pub v4: [u8; 4],
    /// 0
    pub padding: [u8; 4],
    /// As on the wire.
    pub v6: [u8; 16],
}

impl DnsAnswer {
    /// There is an address of IPv4.
    pub const V4: u32 = 1;
    /// And of IPv6.
    pub const V6: u32 = 1 << 1;
    /// The types of questions that are about these (IANA's "Resource Record (RR) TYPEs").
    pub const A: u32 = 1;
    /// See [`Self::A`].
    pub const AAAA: u32 = 28;
}

/// What [`crate::RuleConfig::effect`] is for answers that do not arrive. What is below [`ANSWER`] and is not this, the
/// answer says that it has failed by (IANA's "DNS RCODEs").
pub const TIMEOUT: u32 = 0;
/// For answers that say what the rule's [`DnsAnswer`] is.
pub const ANSWER: u32 = 1 << 8;

/// A name of a rule from its end, after the number of bits that count of what follows it, as the kernel's
/// longest prefix match wants it. The rule always counts. The bytes are those of the name on the wire in small
/// letters, without the root, in the opposite order, and then [`Self::BEGIN`]: names that end alike begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NameKey {
    /// The rule's number.
    pub rule: u32,
    /// Whatever is in there behind the name does not count.
    pub bytes: [u8; Self::BYTES],
}

impl NameKey {
    /// All that the kernel compares is this and the rule (`LPM_DATA_SIZE_MAX`, `kernel/bpf/lpm_trie.c`). Longer names
    /// match by what is in here.
    pub const BYTES: usize = 252;
    /// Where a name begins: no length of a label, which are up to 63, and no small letter.
    pub const BEGIN: u8 = 0xff;
    /// How many bits stand in front of the name.
    pub const FIXED_BITS: u32 = 32;
    /// All of it.
    #[expect(clippy::cast_possible_truncation, reason = "2048")]
    pub const BITS: u32 = Self::FIXED_BITS + 8 * Self::BYTES as u32;
    /// What a rule's map says of a name that it wants.
    pub const IN: u32 = 1;
    /// And of an exception.
    pub const OUT: u32 = 2;
    /// And of one that is as if it were not listed, unlike those that end in it.
    pub const NEITHER: u32 = 3;
}

impl DnsFilter {
    /// Whether a rule wants the answer to a question of a type. `listed` is what its names say of the one that is
    /// asked for: 0 where none is it.
    #[inline(always)]
    #[must_use]
    pub fn filter(&self, kind: u32, listed: impl FnOnce() -> u32) -> Filtered {
        if self.types_len != 0 {
            let mut named = false;
            let mut index = 0;
            while index < TYPES {
                // Not in the loop's condition, which would be a bound that the verifier does not know.
                if index < self.types_len as usize {
                    named |= self.types[index] == kind;
                }
                index += 1;
            }
            if !named {
                return Filtered::Out;
            }
        }
        if self.wants & dns_wants::NAMES == 0 {
            return Filtered::In;
        }
        let wanted = match listed() {
            NameKey::IN => true,
            NameKey::OUT => false,
            _ => self.wants & dns_wants::OTHERS != 0,
        };
        if wanted { Filtered::In } else { Filtered::Out }
    }
}

/// A small letter of an ASCII letter. What is no letter stays as it is, as do the lengths of labels.
#[inline(always)]
#[must_use]
pub const fn small(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

const _: () = assert!(size_of::<DnsFilter>() == 32);
const _: () = assert!(size_of::<NameKey>() == 256);
const _: () = assert!(size_of::<DnsAnswer>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 1;
    const AAAA: u32 = 28;

    #[test]
    fn types_are_named_or_every_one_is_meant() {
        assert_eq!(DnsFilter::default().filter(A, || 0), Filtered::In);
        let some = DnsFilter {
            types_len: 1,
            types: [AAAA, A, 0, 0, 0, 0],
            ..DnsFilter::default()
        };
        assert_eq!(some.filter(AAAA, || 0), Filtered::In);
        assert_eq!(some.filter(A, || 0), Filtered::Out);
    }

    #[test]
    fn names_and_their_exceptions() {
        let listed = DnsFilter {
            wants: dns_wants::NAMES,
            ..DnsFilter::default()
        };
        let others = DnsFilter {
            wants: dns_wants::NAMES | dns_wants::OTHERS,
            ..DnsFilter::default()
        };
        for (says, by_list, by_exception) in [
            (NameKey::IN, Filtered::In, Filtered::In),
            (NameKey::OUT, Filtered::Out, Filtered::Out),
            (NameKey::NEITHER, Filtered::Out, Filtered::In),
            (0, Filtered::Out, Filtered::In),
        ] {
            assert_eq!(listed.filter(A, || says), by_list);
            assert_eq!(others.filter(A, || says), by_exception);
        }
    }

    #[test]
    fn lengths_of_labels_are_no_letters() {
        for length in 0..=63 {
            assert_eq!(small(length), length);
        }
        assert_eq!([small(b'Q'), small(b'q'), small(b'-')], *b"qq-");
    }
}
