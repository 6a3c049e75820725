//! The decision alone, for tests: a classifier that asks the rules of one list.
//!
//! `BPF_PROG_TEST_RUN` runs classifiers on any kernel, without attaching them to anything.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over by value"
)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    macros::{classifier, map},
    maps::Array,
    programs::TcContext,
};
use chaos_common::{Filtered, Hook, RuleList};
use chaos_ebpf::{
    evidence,
    plane::{decide_list, decide_met, met_by},
    subject::Packet,
};

/// The rules that every run asks.
#[map]
static TEST_RULES: Array<RuleList> = Array::with_max_entries(1, 0);

const PASSED: i32 = 0;
const INJECTED: i32 = 1;

/// Returns whether a rule injects.
#[classifier]
fn decide(context: TcContext) -> i32 {
    let Some(list) = TEST_RULES.get(0) else {
        return PASSED;
    };
    let packet = Packet(&context.skb);
    match decide_list(list, &packet, |_, _| Filtered::In) {
        Some(hit) => {
            evidence::injected(&hit, &packet, Hook::NetIngress as u32, 0);
            INJECTED
        }
        None => PASSED,
    }
}

/// A program that does nothing: what running one costs.
#[classifier]
fn empty(_context: TcContext) -> i32 {
    PASSED
}

/// The whole way of a hook that runs for everybody, from its gate on.
#[classifier]
fn meet(context: TcContext) -> i32 {
    let packet = Packet(&context.skb);
    let Some((scratch, gate)) = met_by(&packet, Hook::FileOpenLsm as u32) else {
        return PASSED;
    };
    match decide_met(
        *scratch,
        gate,
        packet,
        |_| true,
        |_, _| Filtered::In,
        |_| false,
    ) {
        Some(_) => INJECTED,
        None => PASSED,
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
