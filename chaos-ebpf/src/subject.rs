//! Whom an event belongs to: the current task, or the socket of a packet.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_USER_STACK, bpf_hdr_start_off::BPF_HDR_START_NET},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
        bpf_ktime_get_boot_ns,
        generated::{
            bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id,
            bpf_get_current_task_btf, bpf_get_task_stack, bpf_skb_ancestor_cgroup_id,
            bpf_skb_cgroup_id, bpf_skb_load_bytes_relative,
        },
    },
    programs::sk_buff::SkBuff,
};
use chaos_common::{
    Event, Filtered, Narrowing, TargetKey,
    limits::{COMM_BYTES, STACK_FRAMES},
};

use crate::kernel::{OFF_TASK_COMM, OFF_TASK_LEADER, OFF_TASK_START, read, read_to};

/// What the plane asks of whom an event belongs to.
pub trait Subject {
    /// Whether it is a task, with a thread and names.
    const TASK: bool;
    /// Its own cgroup, 0 when it has none.
    fn cgroup(&self) -> u64;
    /// The cgroup at a depth of the tree on the way to its own, 0 where there is none.
    fn ancestor(&self, depth: u32) -> u64;
    /// Who it was. `detail` is what the hook knows, for subjects that know nothing better.
    fn describe(&self, detail: u64) -> By;
    /// Writes how a packet begins, over zeros.
    ///
    /// # Safety
    /// There is room for it.
    unsafe fn head(&self, _place: *mut c_void) {}
    /// Writes where a task is in user space ([`chaos_common::Stack::frames`]), and returns how many
    /// bytes there are of it; negative if that can't be told.
    ///
    /// # Safety
    /// There is room for it.
    unsafe fn stack(&self, _place: *mut c_void) -> i64 {
        0
    }
}

/// What an event says of its subject: the fields of [`chaos_common::Event`] of these names.
#[derive(Clone, Copy)]
pub struct By {
    /// Cgroup id.
    pub cgroup: u64,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// By hook.
    pub detail: u64,
    /// Name of the thread.
    pub comm: [u64; COMM_BYTES / 8],
}

/// The current task.
#[derive(Clone, Copy)]
pub struct Task;

/// The current task, for programs that hang on its cgroup: the kernel shows them nobody's stack.
#[derive(Clone, Copy)]
pub struct Caller;

/// Whom the socket of a packet belongs to.
#[derive(Clone, Copy)]
pub struct Packet<'a>(pub &'a SkBuff);

impl Subject for Task {
    const TASK: bool = true;

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        // SAFETY: no pointer is passed.
        unsafe { bpf_get_current_cgroup_id() }
    }

    #[inline(always)]
    fn ancestor(&self, depth: u32) -> u64 {
        // SAFETY: no pointer is passed.
        unsafe { bpf_get_current_ancestor_cgroup_id(depth.cast_signed()) }
    }

    #[inline(always)]
    fn describe(&self, detail: u64) -> By {
        let ids = bpf_get_current_pid_tgid();
        By {
            cgroup: self.cgroup(),
            pid: (ids >> 32) as u32,
            tid: ids as u32,
            detail,
            // SAFETY: no pointer of ours is passed, and the read is checked by a helper.
            comm: unsafe { read(bpf_get_current_task(), &OFF_TASK_COMM) }.unwrap_or([0; 2]),
        }
    }

    /// By frame pointers, over pages that are in memory: the kernel can do no more here.
    #[inline(always)]
    unsafe fn stack(&self, place: *mut c_void) -> i64 {
        // Not bpf_get_stack, which wants the program's context. This one walks another task's kernel
        // stack, and the current task's stack in user space (kernel/bpf/stackmap.c, 6.1 to 7.x).
        // SAFETY: the caller has made room.
        unsafe {
            bpf_get_task_stack(
                bpf_get_current_task_btf(),
                place,
                (STACK_FRAMES * size_of::<u64>()) as u32,
                u64::from(BPF_F_USER_STACK),
            )
        }
    }
}

impl Subject for Caller {
    const TASK: bool = true;

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        Task.cgroup()
    }

    #[inline(always)]
    fn ancestor(&self, depth: u32) -> u64 {
        Task.ancestor(depth)
    }

    #[inline(always)]
    fn describe(&self, detail: u64) -> By {
        Task.describe(detail)
    }
}

impl Subject for Packet<'_> {
    const TASK: bool = false;

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        // SAFETY: the program's own context.
        unsafe { bpf_skb_cgroup_id(self.0.skb) }
    }

    #[inline(always)]
    fn ancestor(&self, depth: u32) -> u64 {
        // SAFETY: the program's own context.
        unsafe { bpf_skb_ancestor_cgroup_id(self.0.skb, depth.cast_signed()) }
    }

    #[inline(always)]
    fn describe(&self, _detail: u64) -> By {
        By {
            cgroup: self.cgroup(),
            pid: 0,
            tid: 0,
            detail: u64::from(self.0.len()),
            comm: [0; 2],
        }
    }

    #[inline(always)]
    unsafe fn head(&self, place: *mut c_void) {
        // Two sizes that the verifier knows: a read beyond the end fails as a whole.
        // SAFETY: the program's own context; the caller has made room.
        unsafe {
            let skb = self.0.skb.cast();
            let start = BPF_HDR_START_NET;
            if bpf_skb_load_bytes_relative(skb, 0, place, Event::HEAD_BYTES, start) != 0 {
                bpf_skb_load_bytes_relative(skb, 0, place, Event::SHORT_HEAD_BYTES, start);
            }
        }
    }
}

/// Boot time in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no pointer is passed.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The identity of the current process: its number alone may be another process's tomorrow.
#[inline(always)]
pub fn current_process() -> Option<u64> {
    // SAFETY: no pointer of ours is passed, and reads are checked by a helper.
    let start: u64 = unsafe { read(leader()?, &OFF_TASK_START)? };
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    Some(TargetKey::process(pid, start / TargetKey::TICK_NS))
}

/// The names and the user of the current task, read once per event.
#[derive(Clone, Copy, Default)]
pub struct Who {
    known: bool,
    comm: [u64; COMM_BYTES / 8],
    thread: [u64; COMM_BYTES / 8],
    uid: u32,
}

impl Who {
    /// Reads them.
    #[inline(always)]
    pub fn current() -> Self {
        let mut who = Self::default();
        who.learn();
        who
    }

    /// Reads them where they are to stand.
    #[inline(always)]
    pub fn learn(&mut self) {
        self.known = self.read().is_some();
    }

    /// Nothing is known of it.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.known = false;
    }

    #[inline(always)]
    fn read(&mut self) -> Option<()> {
        // SAFETY: no pointer of ours is passed but to fields of this, and reads are checked by a helper.
        unsafe {
            read_to(leader()?, &OFF_TASK_COMM, &raw mut self.comm)?;
            read_to(bpf_get_current_task(), &OFF_TASK_COMM, &raw mut self.thread)?;
            self.uid = bpf_get_current_uid_gid() as u32;
        }
        Some(())
    }

    /// Whether a rule wants this task.
    #[inline(always)]
    pub fn filter(&self, wanted: &Narrowing) -> Filtered {
        if !self.known {
            return Filtered::Unknown;
        }
        if wanted.comm.matches(self.comm)
            && wanted.thread.matches(self.thread)
            && (wanted.has_uid == 0 || wanted.uid == self.uid)
        {
            Filtered::In
        } else {
            Filtered::Out
        }
    }
}

#[inline(always)]
fn leader() -> Option<u64> {
    // SAFETY: no pointer of ours is passed, and the read is checked by a helper.
    unsafe { read(bpf_get_current_task(), &OFF_TASK_LEADER) }
}
