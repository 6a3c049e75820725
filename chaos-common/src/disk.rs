//! What a disk is asked to do.

/// The operations of a disk, by the numbers under which a [`crate::CallSet`] has them. A request is one
/// of them, or none; a write that wants the disk's cache written out first is two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DiskOp {
    /// Bytes are read.
    Read = 0,
    /// Bytes are written, zeros among them that the disk makes itself.
    Write = 1,
    /// What is in the disk's cache is written out (`REQ_PREFLUSH`).
    Flush = 2,
    /// Blocks are not needed any more, or shall be unreadable.
    Discard = 3,
}

impl DiskOp {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Flush, Self::Discard];

    /// Its bit in the first word of a set, where all of them are.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// A device as the kernel numbers it in memory (`MKDEV`, `include/linux/kdev_t.h`): the lower 20 bits
/// are the minor number.
#[must_use]
pub const fn device_number(major: u32, minor: u32) -> u32 {
    const MINOR_BITS: u32 = 20;
    (major << MINOR_BITS) | (minor & ((1 << MINOR_BITS) - 1))
}

const _: () = assert!(device_number(8, 17) == 0x0080_0011);
