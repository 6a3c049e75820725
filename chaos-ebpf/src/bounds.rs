//! Bounds that the verifier can see.

/// `value & MASK`, as an instruction that the compiler can't take away.
///
/// LLVM knows from an earlier comparison that a mask changes nothing and drops it; the verifier has
/// forgotten that comparison once the value has been spilled.
#[inline(always)]
pub fn masked<const MASK: usize>(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: one arithmetic instruction on a register.
        unsafe {
            core::arch::asm!(
                "{value} &= {mask}",
                value = inout(reg) value,
                mask = const MASK,
                options(pure, nomem, nostack),
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        value & MASK
    }
}
