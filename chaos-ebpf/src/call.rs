//! The system call that the current task is in.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

use crate::kernel::{OFF_REGS_CS, OFF_REGS_ORIG_AX, read};

/// `__USER32_CS` (`arch/x86/include/asm/segment.h`): the call came from 32-bit code.
const USER32_CS: u64 = 0x23;

/// A system call by its number.
#[derive(Clone, Copy)]
pub struct Call {
    /// In the table of x86-64, or in that of i386.
    pub number: u64,
    /// Whether it is i386's.
    pub compat: bool,
}

impl Call {
    /// That of the current task. `io_uring`'s workers show the call that started them.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        // SAFETY: no pointer of ours is passed, and reads are checked by a helper.
        unsafe {
            let registers = bpf_task_pt_regs(bpf_get_current_task_btf()).cast_unsigned();
            let cs: u64 = read(registers, &OFF_REGS_CS)?;
            Some(Self {
                number: read(registers, &OFF_REGS_ORIG_AX)?,
                compat: cs & 0xffff == USER32_CS,
            })
        }
    }
}
