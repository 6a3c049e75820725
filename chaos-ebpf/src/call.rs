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

    /// Whether it makes nodes: `mknod` and the `bind` of a unix socket make names on the hook of
    /// opens. `io_uring` opens from other system calls and from workers, so this looks for those two,
    /// and everything else is taken for an open.
    #[inline(always)]
    pub fn makes_nodes(self) -> bool {
        if self.compat {
            // mknod, socketcall, mknodat, bind (arch/x86/entry/syscalls/syscall_32.tbl)
            matches!(self.number, 14 | 102 | 297 | 361)
        } else {
            // bind, mknod, mknodat (arch/x86/entry/syscalls/syscall_64.tbl)
            matches!(self.number, 49 | 133 | 259)
        }
    }

    /// Whether it reads the entries of a directory.
    #[inline(always)]
    pub fn lists(self) -> bool {
        if self.compat {
            // readdir, getdents, getdents64
            matches!(self.number, 89 | 141 | 220)
        } else {
            // getdents, getdents64
            matches!(self.number, 78 | 217)
        }
    }

    /// Whether it moves data between files, or gives a file room: it comes by the hook of reads and
    /// writes, on some kernels more than once, and is neither.
    #[inline(always)]
    pub fn moves_data(self) -> bool {
        if self.compat {
            // ioctl, sendfile, sendfile64, splice, fallocate, copy_file_range
            matches!(self.number, 54 | 187 | 239 | 313 | 324 | 377)
        } else {
            // ioctl, sendfile, splice, fallocate, copy_file_range
            matches!(self.number, 16 | 40 | 275 | 285 | 326)
        }
    }
}
