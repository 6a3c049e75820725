//! Every bound that a program or a map has, in one place.

/// Rules of one target on one hook; they are evaluated in the order of the list.
pub const RULES_PER_TARGET: usize = 8;

/// Rules that one event can meet, over all targets that it lies in.
pub const RULES_PER_EVENT: usize = 16;

/// Different depths in the cgroup tree at which the targets of one hook may lie. A program asks the
/// kernel for one ancestor per depth in use, so this bounds its work.
pub const TARGET_LEVELS: usize = 8;

/// Rules on one node.
pub const RULES: u32 = 4096;

/// Plans on one node.
pub const PLANS: u32 = 256;

/// Bytes that programs compare of a path between two looks at whether there is more.
pub const PATH_CHUNK_BYTES: usize = 64;

/// Bytes of a path filter. A multiple of [`PATH_CHUNK_BYTES`].
pub const PATH_FILTER_BYTES: usize = 512;

/// Longest path that a program resolves: the kernel's `PATH_MAX`. A power of two, because programs
/// bound their offsets by masking.
pub const PATH_BYTES: usize = 4096;

/// Components that a program walks up from a file before it gives up.
pub const PATH_COMPONENTS: usize = 96;
