//! What the BPF programs of all fault kinds share. Each kind is one object, `src/bin/KIND.rs`.
//!
//! Error means pass: whatever goes wrong in here lets the event through unharmed and is counted.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    missing_debug_implementations,
    reason = "nothing formats anything in the kernel"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "usize has 64 bits here, and a conversion that can fail would be a branch to verify"
)]
#![expect(
    clippy::missing_safety_doc,
    reason = "every unsafe function here takes what the kernel handed to the program"
)]

pub mod allocation;
pub mod amount;
pub mod atomics;
pub mod bounds;
pub mod call;
pub mod cgroup;
pub mod classes;
pub mod damage;
pub mod disk;
pub mod dns;
pub mod evidence;
pub mod facts;
pub mod kernel;
pub mod levels;
pub mod link;
pub mod maps;
pub mod memory;
pub mod name;
pub mod packet;
pub mod path;
pub mod pause;
pub mod plane;
pub mod program;
pub mod scratch;
pub mod skb;
pub mod subject;

/// An endless loop: the verifier refuses a program that can reach it, so no panic ever loads.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
