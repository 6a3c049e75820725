//! What a rule wants of an event beyond its target: the values of optional maps, one per rule.

use crate::limits::{COMM_BYTES, PATH_FILTER_BYTES, SYSCALLS};

/// Which paths a rule wants, as the target sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PathFilter {
    /// Bytes in use.
    pub len: u32,
    /// [`PathFilter::FILE`] or [`PathFilter::SUBTREE`]
    pub kind: u32,
    /// The path, filled up with zeros; a subtree ends in a slash.
    pub words: [u64; PATH_FILTER_BYTES / 8],
    /// Which bits of `words` count: those of the path's own bytes. A program that compares by them
    /// needs no branch for the last word, and branches are what a verifier pays for.
    pub masks: [u64; PATH_FILTER_BYTES / 8],
}

impl PathFilter {
    /// Exactly this path.
    pub const FILE: u32 = 0;
    /// This directory and everything below it.
    pub const SUBTREE: u32 = 1;

    /// Packs a path; `None` when it is empty or longer than the map's value.
    #[must_use]
    pub fn new(path: &[u8], kind: u32) -> Option<Self> {
        if path.is_empty() || path.len() >= PATH_FILTER_BYTES {
            return None;
        }
        let mut filter = Self {
            len: u32::try_from(path.len()).ok()?,
            kind,
            words: [0; PATH_FILTER_BYTES / 8],
            masks: [0; PATH_FILTER_BYTES / 8],
        };
        for (index, chunk) in path.chunks(8).enumerate() {
            let mut bytes = [0_u8; 8];
            let mut mask = [0_u8; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            mask[..chunk.len()].fill(0xff);
            // The program loads the same bytes as a word of this machine.
            filter.words[index] = u64::from_ne_bytes(bytes);
            filter.masks[index] = u64::from_ne_bytes(mask);
        }
        Some(filter)
    }
}

impl PathFilter {
    /// Whether a path is one of these. Programs compare by words, elsewhere.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let wanted = self.len as usize;
        let at = |index: usize| {
            let word = self.words.get(index / 8).copied().unwrap_or(0);
            word.to_ne_bytes()[index % 8]
        };
        // The subtree `/d/` is also the directory `/d`: a slash stands behind every path.
        let have = |index: usize| path.get(index).copied().unwrap_or(b'/');
        let long_enough = match self.kind {
            Self::FILE => path.len() == wanted,
            _ => path.len() + 1 >= wanted,
        };
        long_enough && (0..wanted).all(|index| at(index) == have(index))
    }
}

/// Which system calls a rule is about, one bit for each number of x86-64; or which events of files,
/// one bit for each [`crate::FileEvent`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct CallSet {
    /// Call `n` is bit `n % 64` of word `n / 64`.
    pub words: [u64; SYSCALLS / 64],
}

impl CallSet {
    /// Adds a call; numbers beyond the set are none of x86-64's.
    pub fn insert(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Takes a call out.
    pub fn remove(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// Whether a call is in it.
    #[inline(always)]
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let word = (number / 64) as usize;
        word < SYSCALLS / 64 && self.words[word] & (1 << (number % 64)) != 0
    }

    /// Whether one of the first 64 is in it, each of which is a bit.
    #[inline(always)]
    #[must_use]
    pub const fn has_one_of(&self, bits: u64) -> bool {
        self.words[0] & bits != 0
    }
}

/// Which tasks inside the target a rule wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Narrowing {
    /// Name of the process, that of its first thread.
    pub comm: CommFilter,
    /// Name of the thread.
    pub thread: CommFilter,
    /// Real user id in the first user namespace.
    pub uid: u32,
    /// 1 when `uid` counts.
    pub has_uid: u32,
}

/// A name of at most 15 bytes as the kernel keeps it (`TASK_COMM_LEN`), or a prefix of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CommFilter {
    /// The name, filled up with zeros.
    pub words: [u64; COMM_BYTES / 8],
    /// Which bits of `words` count; none of them lets every name in.
    pub masks: [u64; COMM_BYTES / 8],
}

impl CommFilter {
    /// Exactly this name; `None` when the kernel keeps no name of that length.
    #[must_use]
    pub fn exactly(name: &[u8]) -> Option<Self> {
        // The zero behind the name counts as well.
        Self::new(name, name.len() + 1)
    }

    /// Every name that begins like this; `None` as above.
    #[must_use]
    pub fn prefix(name: &[u8]) -> Option<Self> {
        Self::new(name, name.len())
    }

    fn new(name: &[u8], significant: usize) -> Option<Self> {
        if name.is_empty() || name.len() >= COMM_BYTES {
            return None;
        }
        let mut bytes = [0_u8; COMM_BYTES];
        let mut mask = [0_u8; COMM_BYTES];
        bytes[..name.len()].copy_from_slice(name);
        mask[..significant].fill(0xff);
        let mut filter = Self::default();
        for (index, (bytes, mask)) in bytes.chunks_exact(8).zip(mask.chunks_exact(8)).enumerate() {
            filter.words[index] = u64::from_ne_bytes(bytes.try_into().ok()?);
            filter.masks[index] = u64::from_ne_bytes(mask.try_into().ok()?);
        }
        Some(filter)
    }

    /// Whether a name as the kernel keeps it is wanted.
    #[inline(always)]
    #[must_use]
    pub const fn matches(&self, name: [u64; COMM_BYTES / 8]) -> bool {
        (name[0] ^ self.words[0]) & self.masks[0] | (name[1] ^ self.words[1]) & self.masks[1] == 0
    }
}

/// A cgroup that a rule leaves out, with its subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ExcludeKey {
    /// A cgroup id.
    pub id: u64,
    /// The rule's number.
    pub rule: u32,
    /// Always zero.
    pub padding: u32,
}

/// An ordinal that a rule with [`crate::flags::REPLAY`] hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ReplayKey {
    /// [`crate::RuleState::ordinal`]
    pub ordinal: u64,
    /// The rule's number.
    pub rule: u32,
    /// Always zero.
    pub padding: u32,
}

/// One thread under one rule that counts per thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ThreadKey {
    /// The thread's start since boot in nanoseconds: its number is given out again.
    pub start_ns: u64,
    /// Its number in the first pid namespace.
    pub tid: u32,
    /// The rule's number.
    pub rule: u32,
}

const _: () = assert!(size_of::<PathFilter>() == 8 + 2 * PATH_FILTER_BYTES);
const _: () = assert!(size_of::<Narrowing>() == 4 * COMM_BYTES + 8);
const _: () = assert!(size_of::<ExcludeKey>() == 16);
const _: () = assert!(size_of::<ReplayKey>() == 16);
const _: () = assert!(size_of::<ThreadKey>() == 16);
