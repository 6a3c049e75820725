//! `net.connect`: what a socket is asked for with an address fails, before a packet is sent.
//!
//! Attached to the target's own cgroup, so nobody else's sockets run it.

#![expect(
    deprecated,
    reason = "CGROUP_STORAGE belongs to an attachment; its successor needs Linux 6.2 and belongs to a cgroup"
)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "ports have 16 bits, and errnos 12"
)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only the kernel calls the programs, with the context that the verifier knows"
)]

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_retval, bpf_set_retval},
    macros::map,
    maps::CgroupStorage,
};
use chaos_common::{Address, CallFacts, Filtered, Hook, Protocol, RuleList, flags, part};
use chaos_ebpf::{
    bounds::negative_errno, evidence, maps::RULES_CALL, plane::decide_list_of_caller,
    subject::Caller,
};

/// The rules of the cgroup that the running attachment hangs on: what a nested cgroup's socket is asked
/// for runs a program once per attachment, and each run must see its own target's rules only.
#[map]
static HUNG_RULES: CgroupStorage<RuleList> = CgroupStorage::new();

const FAIL: i32 = 0;
const PASS: i32 = 1;

/// Numbers of system calls of these names, for events (`arch/x86/entry/syscalls/syscall_64.tbl`).
const CONNECT: u64 = 42;
const SENDMSG: u64 = 46;
const BIND: u64 = 49;

/// An address that a socket of IPv4 is given.
#[inline(always)]
unsafe fn ipv4(context: *mut bpf_sock_addr) -> Address {
    // SAFETY: the caller's context.
    Address::ipv4(unsafe { (&raw const (*context).user_ip4).read_volatile() })
}

/// An address that a socket of IPv6 is given.
#[inline(always)]
unsafe fn ipv6(context: *mut bpf_sock_addr) -> Address {
    // SAFETY: the caller's context.
    let [a, b, c, d] = unsafe {
        let words = &raw const (*context).user_ip6;
        [
            (&raw const (*words)[0]).read_volatile(),
            (&raw const (*words)[1]).read_volatile(),
            (&raw const (*words)[2]).read_volatile(),
            (&raw const (*words)[3]).read_volatile(),
        ]
    };
    // Bytes on the wire, as words of this machine.
    let word = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Address::ipv6([word(a, b), word(c, d)])
}

/// What is known of a socket that is told whom to talk to.
#[inline(always)]
unsafe fn to(context: *mut bpf_sock_addr, peer: Address) -> CallFacts {
    CallFacts {
        known: part::PEER | part::PORT | part::PROTOCOL,
        peer,
        // SAFETY: the caller's context.
        port: unsafe { port(context) },
        // SAFETY: the caller's context.
        protocol: unsafe { protocol(context) },
        ..CallFacts::default()
    }
}

/// What is known of a socket that is given an address of its own.
#[inline(always)]
unsafe fn own(context: *mut bpf_sock_addr) -> CallFacts {
    CallFacts {
        known: part::LOCAL_PORT | part::PROTOCOL,
        // SAFETY: the caller's context.
        local_port: unsafe { port(context) },
        // SAFETY: the caller's context.
        protocol: unsafe { protocol(context) },
        ..CallFacts::default()
    }
}

#[inline(always)]
unsafe fn port(context: *mut bpf_sock_addr) -> u32 {
    // SAFETY: the caller's context.
    let port = unsafe { (&raw const (*context).user_port).read_volatile() };
    u16::from_be(port as u16).into()
}

#[inline(always)]
unsafe fn protocol(context: *mut bpf_sock_addr) -> u32 {
    // SAFETY: the caller's context.
    Protocol::bit(unsafe { (&raw const (*context).protocol).read_volatile() })
}

/// Whether it goes on.
#[inline(always)]
fn decide(facts: &CallFacts, call: u64) -> i32 {
    // SAFETY: no pointer is passed.
    if unsafe { bpf_get_retval() } != 0 {
        // Somebody else has failed it already.
        return PASS;
    }
    // SAFETY: always there, and user space replaces it whole.
    let list = unsafe { &*HUNG_RULES.get_ptr_mut() };
    let hit = decide_list_of_caller(list, |number, rule| {
        if rule.flags & flags::CALL == 0 {
            return Filtered::In;
        }
        // SAFETY: values are replaced whole, and the map is not preallocated.
        match unsafe { RULES_CALL.get(number) } {
            Some(wanted) => wanted.filter(facts),
            None => Filtered::Unknown,
        }
    });
    let Some(hit) = hit else {
        return PASS;
    };
    evidence::injected(&hit, &Caller, Hook::NetConnect as u32, call);
    // SAFETY: no pointer is passed.
    unsafe { bpf_set_retval(negative_errno(hit.rule.effect) as i32) };
    FAIL
}

macro_rules! program {
    ($name:ident, $section:literal, $call:expr, |$context:ident| $facts:expr) => {
        #[unsafe(no_mangle)]
        #[unsafe(link_section = $section)]
        pub extern "C" fn $name($context: *mut bpf_sock_addr) -> i32 {
            // SAFETY: the program's own context.
            let facts = unsafe { $facts };
            decide(&facts, $call)
        }
    };
}

program!(connect4, "cgroup/connect4", CONNECT, |it| to(it, ipv4(it)));
program!(connect6, "cgroup/connect6", CONNECT, |it| to(it, ipv6(it)));
program!(sendmsg4, "cgroup/sendmsg4", SENDMSG, |it| to(it, ipv4(it)));
program!(sendmsg6, "cgroup/sendmsg6", SENDMSG, |it| to(it, ipv6(it)));
program!(bind4, "cgroup/bind4", BIND, |it| own(it));
program!(bind6, "cgroup/bind6", BIND, |it| own(it));

#[cfg(not(target_arch = "bpf"))]
fn main() {}
