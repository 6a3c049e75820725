//! What the kernel's console says about the kernel's health.

use std::fmt;

/// A way for a kernel to be no longer fit for tests.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Illness {
    /// The kernel found its own state impossible, killed the process at hand and went on.
    Oops,
    /// RCU waits for a CPU or a task in vain.
    RcuStall,
    /// A CPU does nothing but kernel code, with or without interrupts.
    Lockup,
    /// The kernel stopped.
    Panic,
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oops => "kernel oops",
            Self::RcuStall => "RCU stall",
            Self::Lockup => "kernel lockup",
            Self::Panic => "kernel panic",
        })
    }
}

/// Words that the kernel prints and that user programs' own crashes do not.
const SIGNS: [(&str, Illness); 8] = [
    ("Kernel panic - not syncing", Illness::Panic),
    ("soft lockup - CPU#", Illness::Lockup),
    ("hard LOCKUP", Illness::Lockup),
    ("detected stall", Illness::RcuStall),
    ("self-detected stall", Illness::RcuStall),
    ("BUG: unable to handle", Illness::Oops),
    ("kernel BUG at ", Illness::Oops),
    (" [#1] ", Illness::Oops),
];

/// Reads an illness off one line of the console.
pub(crate) fn diagnose(line: &str) -> Option<Illness> {
    // Lines of processes that write to /dev/kmsg look the same; tests have no reason to lie.
    SIGNS
        .iter()
        .find(|(sign, _)| line.contains(sign))
        .map(|(_, illness)| *illness)
}

/// A line without its time stamp.
pub(crate) fn message(line: &str) -> &str {
    let line = line.trim();
    match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((stamp, rest)) if stamp.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

/// What to say of [`ran_stale_code`].
pub(crate) const STALE_CODE: &str = "the emulator ran a breakpoint that was not in memory any more";

/// Whether the kernel died of a breakpoint (the byte cc) that is not there. It patches its code by
/// putting one there for a moment, and waits until no processor can be in it before it forgets about
/// it (`text_poke_bp`, arch/x86/kernel/alternative.c). QEMU's emulation of several processors, which
/// keeps translations of code, now and then runs it after that; a processor can't. The kernel takes
/// it for an error, or, at the beginning of a function, goes back to an instruction that it finds to
/// be in order (`kprobe_int3_handler`, arch/x86/kernel/kprobes/core.c), and does so forever.
pub(crate) fn ran_stale_code(console: &str) -> bool {
    if let Some((_, oops)) = console.split_once("Oops: int3") {
        return code(oops).is_some_and(|(before, _)| !before.ends_with("cc"));
    }
    let Some((_, lockup)) = console.split_once("soft lockup - CPU#") else {
        return false;
    };
    // A processor that is really stuck is hardly ever found just before a function.
    let begins = lockup
        .lines()
        .find_map(|line| line.split_once("RIP: 0010:"))
        .is_some_and(|(_, place)| place.contains("+0x0/"));
    begins && code(lockup).is_some_and(|(_, next)| PATCHED.iter().any(|it| next.starts_with(it)))
}

/// How instructions begin that the kernel puts at the beginning of a function that is traced: a call,
/// a jump, or nothing (`ftrace_nop_replace`, arch/x86/kernel/ftrace.c).
const PATCHED: [&str; 3] = ["e8>", "e9>", "0f> 1f 44 00 00"];

/// The bytes before the instruction that ran, and from it on: `e8> ...`.
fn code(report: &str) -> Option<(&str, &str)> {
    let line = report.lines().find_map(|line| line.split_once("Code: "));
    line?.1.split_once(" <")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_breakpoint_that_is_gone_is_the_emulators() {
        let oops = |code: &str| {
            format!("Oops: int3: 0000 [#1] SMP\nRIP: 0010:__x64_sys_poll+0x1/0x110\nCode: {code}\n")
        };
        assert!(ran_stale_code(&oops(
            "66 0f 1f 44 00 00 0f <1f> 44 00 00 41"
        )));
        assert!(!ran_stale_code(&oops(
            "66 0f 1f 44 00 00 cc <1f> 44 00 00 41"
        )));
        assert!(!ran_stale_code("Oops: 0000 [#1] SMP\nCode: 0f <1f> 44"));

        let lockup = |place: &str, code: &str| {
            format!(
                "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [keeper:100]\n\
                 RIP: 0010:bpf_lsm_file_open+{place}\nCode: {code}\n"
            )
        };
        for (place, code, expected) in [
            ("0x0/0x10", "0f 1f 40 00 <e8> ab c0 fb 3e", true),
            ("0x0/0x10", "0f 1f 40 00 <0f> 1f 44 00 00 31", true),
            ("0x0/0x10", "0f 1f 40 00 <f3> 90", false),
            ("0x7/0x10", "0f 1f 40 00 <e8> ab c0 fb 3e", false),
        ] {
            assert_eq!(
                ran_stale_code(&lockup(place, code)),
                expected,
                "{place} {code}"
            );
        }
    }

    #[test]
    fn illnesses_are_told_apart() {
        for (line, expected) in [
            (
                "[    5.1] Kernel panic - not syncing: sysrq triggered crash",
                Some(Illness::Panic),
            ),
            (
                "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [sh:99]",
                Some(Illness::Lockup),
            ),
            (
                "watchdog: Watchdog detected hard LOCKUP on cpu 0",
                Some(Illness::Lockup),
            ),
            (
                "rcu: INFO: rcu_preempt self-detected stall on CPU",
                Some(Illness::RcuStall),
            ),
            (
                "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                Some(Illness::RcuStall),
            ),
            (
                "BUG: unable to handle page fault for address: 0000",
                Some(Illness::Oops),
            ),
            (
                "Oops: general protection fault: 0000 [#1] PREEMPT SMP",
                Some(Illness::Oops),
            ),
            (
                "traps: cat[12] general protection fault ip:1 sp:2 error:0",
                None,
            ),
            ("a.out[12]: segfault at 0 ip 0 sp 0 error 4", None),
        ] {
            assert_eq!(diagnose(line), expected, "{line}");
        }
    }

    #[test]
    fn the_time_stamp_goes() {
        assert_eq!(message("[   12.345678] sysrq: x\r"), "sysrq: x");
        assert_eq!(message("[drm] here"), "[drm] here");
    }
}
