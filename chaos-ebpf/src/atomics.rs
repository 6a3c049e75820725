//! Every atomic step that the programs take.
//!
//! Written as instructions, because rustc's atomics for BPF either do not compile or, for a relaxed
//! add whose result is used, compare the operand instead of the fetched value (rustc 1.96, LLVM 22).
//! All of them need cpu v3 and Linux 5.12.

#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Adds to a word of a map and returns what was there before.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut fetched = value;
        // SAFETY: the verifier has proved that `word` points into a map's value.
        unsafe {
            core::arch::asm!(
                "{fetched} = atomic_fetch_add((u64 *)({word} + 0), {fetched})",
                word = in(reg) word,
                fetched = inout(reg) fetched,
            );
        }
        fetched
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's word is valid, aligned, and only touched atomically.
    unsafe { AtomicU64::from_ptr(word) }.fetch_add(value, SeqCst)
}

/// Adds to a word of a map.
#[inline(always)]
pub unsafe fn add(word: *mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the verifier has proved that `word` points into a map's value.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) += {value}",
            word = in(reg) word,
            value = in(reg) value,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's word is valid, aligned, and only touched atomically.
    unsafe { AtomicU64::from_ptr(word) }.fetch_add(value, SeqCst);
}

/// Stores into a word of a map and returns what was there before.
#[inline(always)]
pub unsafe fn swap(word: *mut u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut fetched = value;
        // SAFETY: the verifier has proved that `word` points into a map's value.
        unsafe {
            core::arch::asm!(
                "{fetched} = xchg_64({word} + 0, {fetched})",
                word = in(reg) word,
                fetched = inout(reg) fetched,
            );
        }
        fetched
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's word is valid, aligned, and only touched atomically.
    unsafe { AtomicU64::from_ptr(word) }.swap(value, SeqCst)
}

/// Stores into a word of a map if it holds `expected`, and returns what was there before.
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u64, expected: u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut seen = expected;
        // SAFETY: the verifier has proved that `word` points into a map's value. The instruction
        // compares with r0 and leaves there what it saw.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {value})",
                word = in(reg) word,
                value = in(reg) value,
                inout("r0") seen,
            );
        }
        seen
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's word is valid, aligned, and only touched atomically.
    unsafe { AtomicU64::from_ptr(word) }
        .compare_exchange(expected, value, SeqCst, SeqCst)
        .unwrap_or_else(|seen| seen)
}
