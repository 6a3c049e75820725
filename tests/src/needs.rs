//! What cannot be done where in the lab, in one place, and how a test says that it is skipped.
//!
//! Tests ask this list, never the kernel: a kind that stops working must fail its tests instead of
//! skipping them. That the list is true, in both directions, is what `doctor.rs` tests.

use std::io::Write as _;

use crate::{lab, long};

/// Stands for every kind, or every place.
const ANY: &str = "*";
/// Stands for every kind that is about system calls: what can see a call can do all of them.
const CALLS: &str = "syscall.*";

const MEMORY: &str = "mem.*";

/// A kernel or profile, or all of them, the kind that cannot be done there, and the only mechanism that cannot do
/// it, if the others can.
const MISSING: &[(&str, &str, Option<&str>)] = &[
    // Targets are cgroups of version 2.
    ("cgroup1", "clock.*", None),
    ("cgroup1", "disk.error", None),
    ("cgroup1", "disk.full", None),
    ("cgroup1", "disk.limit", None),
    ("cgroup1", "disk.quota", None),
    ("cgroup1", "disk.readonly", None),
    ("cgroup1", "dns.answer", None),
    ("cgroup1", "dns.delay", None),
    ("cgroup1", "dns.error", None),
    ("cgroup1", "file.delay", None),
    ("cgroup1", "file.error", None),
    ("cgroup1", "net.down", None),
    ("cgroup1", "net.connect", None),
    ("cgroup1", "net.link", None),
    ("cgroup1", "net.loss", None),
    ("cgroup1", "net.partition", None),
    ("cgroup1", "net.reset", None),
    ("cgroup1", "pressure.cpu", None),
    ("cgroup1", MEMORY, None),
    ("cgroup1", CALLS, Some("fmod-ret-syscall")),
    ("cgroup1", CALLS, Some("kprobe-override")),
    ("cgroup1", CALLS, Some("lsm")),
    ("cgroup1", CALLS, Some("fmod-ret")),
    // Links of tcx are there since Linux 6.6.
    ("debian-6.1", "dns.answer", None),
    ("debian-6.1", "dns.error", None),
    ("debian-6.1", "net.down", Some("tcx")),
    ("debian-6.1", "net.loss", Some("tcx")),
    ("debian-6.1", "net.partition", Some("tcx")),
    // Linux 7 takes such programs without the kernel's list for error injection.
    ("debian-6.1", CALLS, Some("fmod-ret-syscall")),
    ("debian-6.12", CALLS, Some("fmod-ret-syscall")),
    // Stock kernels are built without CONFIG_BPF_KPROBE_OVERRIDE.
    ("debian-6.1", CALLS, Some("kprobe-override")),
    ("debian-6.12", CALLS, Some("kprobe-override")),
    ("debian-7", CALLS, Some("kprobe-override")),
    // Nor with what fails the kernel's own allocations: CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC.
    ("debian-6.1", "mem.page", None),
    ("debian-6.12", "mem.page", None),
    ("debian-7", "mem.page", None),
    ("debian-6.1", "mem.slab", None),
    ("debian-6.12", "mem.slab", None),
    ("debian-7", "mem.slab", None),
    // Nor with what fails requests to disks: CONFIG_FUNCTION_ERROR_INJECTION.
    ("debian-6.1", "disk.error", None),
    ("debian-6.12", "disk.error", None),
    ("debian-7", "disk.error", None),
    ("nolsm", ANY, Some("lsm")),
    // Programs must not read kernel memory.
    ("lockdown", "disk.error", None),
    ("lockdown", "disk.full", None),
    ("lockdown", "disk.quota", None),
    ("lockdown", "disk.readonly", None),
    ("lockdown", "dns.answer", None),
    ("lockdown", "dns.error", None),
    ("lockdown", "file.delay", None),
    ("lockdown", "file.error", None),
    ("lockdown", "net.connect", None),
    ("lockdown", MEMORY, None),
    ("lockdown", CALLS, Some("fmod-ret-syscall")),
    ("lockdown", CALLS, Some("kprobe-override")),
    ("lockdown", CALLS, Some("lsm")),
    ("lockdown", CALLS, Some("fmod-ret")),
];

/// Whether some mechanism can do the kind where the test runs.
pub fn can(kind: &str) -> bool {
    !is_missing(&lab(), kind, None)
}

/// Whether this mechanism can do the kind where the test runs.
pub fn can_by(kind: &str, mechanism: &str) -> bool {
    !is_missing(&lab(), kind, Some(mechanism))
}

/// Whether a test that takes long and has one form for each mechanism is made here: in the short form
/// each kernel and profile has one of the two on security hooks, so that both are seen on some.
pub fn has_its_turn(mechanism: &str) -> bool {
    let lab = lab();
    let turn = if lab == "debian-6.1" || lab.ends_with("+nolsm") {
        "fmod-ret"
    } else {
        "lsm"
    };
    long() || !matches!(mechanism, "lsm" | "fmod-ret") || mechanism == turn
}

fn is_missing(lab: &str, kind: &str, mechanism: Option<&str>) -> bool {
    MISSING.iter().any(|(place, what, by)| {
        (*place == ANY || lab.split('+').any(|word| word == *place))
            && what
                .strip_suffix('*')
                .map_or(*what == kind, |family| kind.starts_with(family))
            && (by.is_none() || *by == mechanism)
    })
}

/// Tells `cargo xtask test` that the test which runs is skipped. Use [`crate::require`], which also
/// ends it.
pub fn skip(reason: &str) {
    // Not println, which is kept back until a test fails.
    writeln!(std::io::stdout(), "SKIPPED: {reason}").expect("the harness reads");
}

/// Tells `cargo xtask test` that a mechanism was seen to hit a system call here, and nothing else:
/// the table in the documentation is made of these.
pub fn says_covered(mechanism: &str, call: &str) {
    writeln!(std::io::stdout(), "COVERED: {mechanism} {call}").expect("the harness reads");
}

/// Ends the test as skipped unless all of the kinds can be done where it runs.
#[macro_export]
macro_rules! require {
    // In the short form only on these kernels, without a profile.
    ($($kind:literal),+; $($place:literal),+) => {
        if !$crate::long() && ![$($place),+].contains(&$crate::lab().as_str()) {
            return $crate::needs::skip(concat!("in the short form it is tried on", $(" ", $place),+));
        }
        $crate::require!($($kind),+);
    };
    ($($kind:literal),+) => {
        $(if !$crate::needs::can($kind) {
            return $crate::needs::skip(&format!("{} can't be done on {}", $kind, $crate::lab()));
        })+
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_by_place_kind_and_mechanism() {
        for (lab, kind, mechanism, missing) in [
            ("debian-6.1", "file.error", None, false),
            ("debian-6.1", "syscall.error", None, false),
            (
                "debian-6.1",
                "syscall.error",
                Some("fmod-ret-syscall"),
                true,
            ),
            ("debian-7", "syscall.error", Some("fmod-ret-syscall"), false),
            (
                "debian-7+nolsm",
                "syscall.error",
                Some("kprobe-override"),
                true,
            ),
            ("debian-6.1+cgroup1", "net.loss", Some("cgroup-skb"), true),
            ("debian-7+lockdown", "file.error", Some("fmod-ret"), true),
            ("debian-7+lockdown", "net.loss", None, false),
            ("debian-6.1+cgroup1", "mem.mmap", None, true),
            ("debian-7", "mem.mmap", None, false),
            ("debian-7", "mem.slab", None, true),
            ("fault-6.12", "mem.slab", Some("kprobe-override"), false),
            ("debian-6.12+nolsm", "file.error", None, false),
            ("debian-6.12+nolsm", "file.error", Some("lsm"), true),
            ("debian-6.12+nolsm", "file.error", Some("fmod-ret"), false),
        ] {
            assert_eq!(is_missing(lab, kind, mechanism), missing, "{lab} {kind}");
        }
    }
}
