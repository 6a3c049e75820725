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

/// `-errno` of a positive errno, as a value that the verifier sees to lie in -4095..=0: from 6.12 on
/// an LSM program must return nothing else. A negation would make it forget the range; a subtraction
/// from a constant does not.
#[inline(always)]
pub fn negative_errno(errno: u32) -> i64 {
    /// `MAX_ERRNO` (include/linux/err.h)
    const MAX_ERRNO: usize = 4095;
    let errno = masked::<MAX_ERRNO>(errno as usize);
    #[cfg(target_arch = "bpf")]
    {
        let mut value: i64;
        // SAFETY: two arithmetic instructions on registers.
        unsafe {
            core::arch::asm!(
                "{value} = 0",
                "{value} -= {errno}",
                value = out(reg) value,
                errno = in(reg) errno,
                options(pure, nomem, nostack),
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        -(errno as i64)
    }
}
