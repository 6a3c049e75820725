//! What a rule wants of answers of DNS servers.

use aya::maps::lpm_trie::Key;
use chaos_common::{DnsAnswer, DnsFilter, NameKey, dns::small};

use super::RuleNumber;

/// A filter with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSpec {
    /// What programs ask first.
    pub filter: DnsFilter,
    /// What may be asked for, and what not.
    pub names: Vec<ListedName>,
    /// What the answers say, if they are others.
    pub answer: Option<DnsAnswer>,
}

/// A name, or all that end in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedName {
    /// What counts of [`NameKey::bytes`].
    bytes: Vec<u8>,
    /// [`NameKey::IN`] and others
    pub listed: u32,
}

impl ListedName {
    /// From its labels, the one in front first; `below` is for all names below it, and not for itself. What does not
    /// fit into a key does not count.
    pub fn new<'a>(
        labels: impl DoubleEndedIterator<Item = &'a str>,
        below: bool,
        listed: u32,
    ) -> Self {
        let mut bytes = Vec::new();
        for label in labels.rev() {
            bytes.extend(label.bytes().rev().map(small));
            bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        }
        if !below {
            bytes.push(NameKey::BEGIN);
        }
        bytes.truncate(NameKey::BYTES);
        Self { bytes, listed }
    }

    pub(super) fn key(&self, rule: RuleNumber) -> Key<NameKey> {
        let mut bytes = [0; NameKey::BYTES];
        for (to, from) in bytes.iter_mut().zip(&self.bytes) {
            *to = *from;
        }
        let bits = u32::try_from(8 * self.bytes.len()).unwrap_or(NameKey::BITS);
        Key::new(NameKey::FIXED_BITS + bits, NameKey { rule, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_its_key_from_its_end() {
        let bytes = |below| ListedName::new(["Ab", "c"].into_iter(), below, NameKey::IN).bytes;
        assert_eq!(bytes(false), *b"c\x01ba\x02\xff");
        assert_eq!(bytes(true), *b"c\x01ba\x02");
    }
}
