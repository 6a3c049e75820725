//! The system call that the current task is in.

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_task,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
};
use chaos_common::compat;

use crate::kernel::{
    OFF_REGS_BX, OFF_REGS_CX, OFF_REGS_IP, OFF_REGS_ORIG_AX, OFF_REGS_SI, OFF_REGS_SP,
    OFF_TASK_FLAGS, OFF_TASK_STATUS, read,
};

/// `TS_COMPAT` (`arch/x86/include/asm/thread_info.h`, the same from 4.11 to 7.x): the thread is in a call
/// of i386's, which 64-bit code can make as well (`int 0x80`).
const TS_COMPAT: u32 = 2;

/// `PF_IO_WORKER` (include/linux/sched.h, since 5.12): the thread is one of `io_uring`'s workers, or
/// polls a ring. It is in no system call, and its registers are a copy of those of the thread that has
/// started it, in whatever call that was just then (`arch/x86/kernel/process.c`, `copy_thread`).
const PF_IO_WORKER: u32 = 0x10;

/// A system call by its number.
#[derive(Clone, Copy)]
pub struct Call {
    /// In the table of x86-64, or in that of i386; [`Self::NONE`] of a thread that is in none.
    pub number: u64,
    /// Whether it is i386's.
    pub compat: bool,
    /// Where its registers are kept.
    registers: u64,
}

impl Call {
    /// The number of no call, in both tables.
    pub const NONE: u64 = u64::MAX;

    /// That of the current task. What `io_uring` does for a task without a worker is done in
    /// `io_uring_enter`, or at the end of whatever other call the task has just made.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        // SAFETY: no pointer of ours is passed, and reads are checked by a helper.
        unsafe {
            let task = bpf_get_current_task_btf();
            let registers = bpf_task_pt_regs(task).cast_unsigned();
            let status: u32 = read(bpf_get_current_task(), &OFF_TASK_STATUS)?;
            let flags: u32 = read(bpf_get_current_task(), &OFF_TASK_FLAGS)?;
            let number: u64 = read(registers, &OFF_REGS_ORIG_AX)?;
            // All ones for a worker. Without a branch: a verifier would follow both ways to the end.
            let none = u64::from((flags / PF_IO_WORKER) & 1).wrapping_neg();
            Some(Self {
                number: number | none,
                compat: status & TS_COMPAT != 0,
                registers,
            })
        }
    }

    /// Its number in the table of x86-64, `None` if nothing there does the same.
    #[inline(always)]
    pub fn native(self) -> Option<u64> {
        if self.number == Self::NONE {
            None
        } else if self.compat {
            compat::native(self.number, || self.argument(&OFF_REGS_BX))
        } else {
            Some(self.number)
        }
    }

    /// The number that [`chaos_common::Event::detail`] is to have: x86-64's, or none.
    #[inline(always)]
    pub fn number_now() -> u64 {
        Self::current().and_then(Self::native).unwrap_or(Self::NONE)
    }

    /// Its number in the table of x86-64, if it asks for memory: mmap, brk or mremap.
    #[inline(always)]
    pub fn maps_memory(self) -> Option<u64> {
        const MMAP: u64 = 9;
        const BRK: u64 = 12;
        const MREMAP: u64 = 25;
        match (self.compat, self.number) {
            // mmap, and mmap2 (arch/x86/entry/syscalls/syscall_32.tbl)
            (false, MMAP) | (true, 90 | 192) => Some(MMAP),
            (false, BRK) | (true, 45) => Some(BRK),
            (false, MREMAP) | (true, 163) => Some(MREMAP),
            _ => None,
        }
    }

    /// Whether the kernel can make it again as if it had not been made. Not what an execve opens: it
    /// holds a lock that a debugger waits for. Not what `io_uring` and `io_submit` do: that is not the
    /// call itself, and they take the kernel's word for it for an error.
    #[inline(always)]
    pub fn can_be_made_again(self) -> bool {
        // execve, io_submit, execveat, io_uring_setup, io_uring_enter, io_uring_register
        // (arch/x86/entry/syscalls/syscall_64.tbl)
        !self.compat && !matches!(self.number, 59 | 209 | 322 | 425..=427 | Self::NONE)
    }

    /// Its second argument.
    #[inline(always)]
    pub fn second(self) -> Option<u64> {
        let register = if self.compat {
            &OFF_REGS_CX
        } else {
            &OFF_REGS_SI
        };
        self.argument(register)
    }

    /// An argument by its register. i386 has arguments of 32 bits.
    #[inline(always)]
    pub(crate) fn argument(self, register: &Global<u32>) -> Option<u64> {
        // SAFETY: reads are checked by a helper.
        let value: u64 = unsafe { read(self.registers, register)? };
        Some(if self.compat {
            value & u64::from(u32::MAX)
        } else {
            value
        })
    }

    /// Whether it sets times: it comes by the hook of everything that changes attributes.
    #[inline(always)]
    pub fn sets_times(self) -> bool {
        if self.compat {
            // utime, utimes, futimesat, utimensat, utimensat_time64
            matches!(self.number, 30 | 271 | 299 | 320 | 412)
        } else {
            // utime, utimes, futimesat, utimensat
            matches!(self.number, 132 | 235 | 261 | 280)
        }
    }

    /// Whether it takes room from a file: a fallocate with `FALLOC_FL_PUNCH_HOLE` or
    /// `FALLOC_FL_COLLAPSE_RANGE` (include/uapi/linux/falloc.h).
    #[inline(always)]
    pub fn takes_room(self) -> bool {
        self.number == if self.compat { 324 } else { 285 }
            && self.second().is_some_and(|mode| mode & 0xa != 0)
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

/// Where a thread has made its call from: a call that the kernel makes again has the same one.
#[derive(Clone, Copy)]
pub struct Origin {
    /// Behind the instruction.
    pub instruction: u64,
    /// The top of its stack.
    pub stack: u64,
}

impl Origin {
    /// That of the current task.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        // SAFETY: no pointer of ours is passed, and reads are checked by a helper.
        unsafe {
            let registers = bpf_task_pt_regs(bpf_get_current_task_btf()).cast_unsigned();
            Some(Self {
                instruction: read(registers, &OFF_REGS_IP)?,
                stack: read(registers, &OFF_REGS_SP)?,
            })
        }
    }
}
