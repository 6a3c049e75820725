//! `mem.mmap`: a process gets no memory from mmap, brk and mremap.
//!
//! `security_vm_enough_memory_mm(mm, pages)` is asked before memory is set aside for a process; an
//! error is what the kernel says when all memory has been promised already. BPF LSM programs may not
//! hang there.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only the kernel calls the programs, with the context that the verifier knows"
)]

use chaos_common::{Filtered, Hook};
use chaos_ebpf::{
    allocation::wants,
    bounds::negative_errno,
    call::Call,
    evidence,
    kernel::{OFF_MM_LOCK_COUNT, read},
    maps::CALL_SETS,
    plane::{decide_met, met_by_task},
    program,
    program::argument,
    subject::Task,
};

const HOOK: u32 = Hook::MemMmap as u32;

/// What x86-64 counts memory in.
const PAGE_BYTES: u64 = 4096;

/// `RWSEM_WRITER_LOCKED` (kernel/locking/rwsem.c, since 5.3).
const WRITER_LOCKED: u64 = 1;

/// What the current call fails with, if it does.
#[inline(always)]
unsafe fn error(mm: u64, pages: u64) -> Option<i64> {
    let (scratch, gate) = met_by_task(HOOK)?;
    let call = Call::current()?;
    // Forks, growing stacks, execve, swapon and writes to a tmpfs ask as well.
    scratch.set_note(call.maps_memory()?);
    // While it changes the address space a call holds it as its only writer. What it fills pages in
    // for afterwards (MAP_POPULATE, of a tmpfs with a question for each) can't make it fail any more.
    // SAFETY: the read is checked by a helper.
    if unsafe { read::<u64>(mm, &OFF_MM_LOCK_COUNT)? } & WRITER_LOCKED == 0 {
        return None;
    }
    let event = *scratch;
    let hit = decide_met(
        event,
        gate,
        Task,
        move |rule| {
            let calls = CALL_SETS.get(rule.calls.into());
            calls.is_some_and(|calls| calls.contains(event.note()))
        },
        move |number, _| {
            wants(
                number,
                || Some(pages.wrapping_mul(PAGE_BYTES)),
                |_| Filtered::In,
            )
        },
        |_| false,
    )?;
    evidence::injected(&hit, &Task, HOOK, Call::number_now());
    Some(negative_errno(hit.rule.effect))
}

program!(
    /// `security_vm_enough_memory_mm(mm, pages)`
    mem_mmap, "fentry/mem_mmap", 2, |context| {
        error(argument(context, 0), argument(context, 1)).unwrap_or(0)
    }
);

#[cfg(not(target_arch = "bpf"))]
fn main() {}
