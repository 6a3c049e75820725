//! What the kernel allocates, and what a rule wants of it.

/// Why memory is allocated, as far as the flags of the allocation say (`gfp_t`), by the numbers under
/// which a [`crate::CallSet`] has it. An allocation is of one class; one that must not fail
/// (`__GFP_NOFAIL`) is of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum GfpClass {
    /// The kernel's own, by somebody who may sleep: `GFP_KERNEL`, `GFP_KERNEL_ACCOUNT`.
    Kernel = 0,
    /// By somebody who may sleep, but in the middle of a file system or of a disk: `GFP_NOFS`,
    /// `GFP_NOIO`, and a scope of these.
    Nofs = 1,
    /// Pages of programs and of the page cache: `GFP_HIGHUSER` and what is made of it.
    User = 2,
    /// By somebody who must not sleep: `GFP_ATOMIC`, `GFP_NOWAIT`.
    Atomic = 3,
}

impl GfpClass {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Nofs, Self::User, Self::Atomic];

    /// Its bit in the first word of a set, where all of them are.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// Bytes that are compared of the name of a cache, with the zero behind it.
pub const CACHE_BYTES: usize = 64;

/// Which allocations a rule wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AllocationFilter {
    /// Only of so many at least: bytes, or the order of pages where there are only pages.
    pub least: u64,
    /// Only of the slab cache of this name, filled up with zeros.
    pub cache: [u64; CACHE_BYTES / 8],
    /// Which bits of `cache` count: a whole name with the zero behind it, or none.
    pub masks: [u64; CACHE_BYTES / 8],
}

impl AllocationFilter {
    /// Of so many at least, and only of this cache, if one is named. `None` when the name is empty or
    /// longer than what is compared.
    #[must_use]
    pub fn new(least: u64, cache: Option<&[u8]>) -> Option<Self> {
        let mut filter = Self {
            least,
            ..Self::default()
        };
        let Some(name) = cache else {
            return Some(filter);
        };
        if name.is_empty() || name.len() >= CACHE_BYTES {
            return None;
        }
        let mut bytes = [0_u8; CACHE_BYTES];
        let mut mask = [0_u8; CACHE_BYTES];
        bytes[..name.len()].copy_from_slice(name);
        mask[..=name.len()].fill(0xff);
        for (index, (bytes, mask)) in bytes.chunks_exact(8).zip(mask.chunks_exact(8)).enumerate() {
            // The program loads the same bytes as a word of this machine.
            filter.cache[index] = u64::from_ne_bytes(bytes.try_into().ok()?);
            filter.masks[index] = u64::from_ne_bytes(mask.try_into().ok()?);
        }
        Some(filter)
    }
}

const _: () = assert!(size_of::<AllocationFilter>() == 8 + 2 * CACHE_BYTES);

const _: () = {
    let mut index = 0;
    while index < GfpClass::ALL.len() {
        assert!(GfpClass::ALL[index] as usize == index && index < 64);
        index += 1;
    }
};
