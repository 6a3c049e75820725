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
/// keeps translations of code, now and then runs it after that; a processor can't.
pub(crate) fn ran_stale_code(console: &str) -> bool {
    let Some((_, oops)) = console.split_once("Oops: int3") else {
        return false;
    };
    let code = oops.lines().find_map(|line| line.split_once("Code: "));
    code.and_then(|(_, code)| code.split_once(" <"))
        .is_some_and(|(before, _)| !before.ends_with("cc"))
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
