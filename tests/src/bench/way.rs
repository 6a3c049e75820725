//! The ways in which a fault can be there while somebody else makes calls.

use crate::{
    cgroup::Cgroup,
    lab,
    needs::{can, can_by},
};

/// A kind of fault by a mechanism.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The kind.
    pub kind: &'static str,
    /// The mechanism.
    pub mechanism: &'static str,
    /// What a call that is not hit may cost at most, in times of the same call with nothing armed; none
    /// where nothing was promised.
    pub goal: Option<f64>,
}

/// Programs by hooks, which cost next to nothing where the rules are somebody else's.
const CHEAP: Option<f64> = Some(1.05);

const KINDS: [&str; 2] = ["file.error", "syscall.error"];

const MECHANISMS: [(&str, Option<f64>); 5] = [
    ("lsm", CHEAP),
    ("fmod-ret", CHEAP),
    ("fmod-ret-syscall", CHEAP),
    ("kprobe-override", None),
    (FILTER, None),
];

/// Only for commands that `kchaos run` starts.
const FILTER: &str = "seccomp-notify";

/// Hooks of files: those of calls are no way of `file.error`.
const OF_FILES: [&str; 2] = ["lsm", "fmod-ret"];

impl Way {
    /// All that can be gone where this runs.
    pub fn all() -> Vec<Self> {
        let ways = KINDS.into_iter().flat_map(|kind| {
            MECHANISMS.map(|(mechanism, goal)| Self {
                kind,
                mechanism,
                goal,
            })
        });
        ways.filter(Self::is_there).collect()
    }

    fn is_there(&self) -> bool {
        let is_of_files = self.kind == KINDS[0];
        (!is_of_files || OF_FILES.contains(&self.mechanism))
            && can(self.kind)
            && can_by(self.kind, self.mechanism)
    }

    /// What it is called in a report, and chosen by.
    pub fn name(&self) -> String {
        format!("{} by {}", self.kind, self.mechanism)
    }

    /// An experiment that makes opens in one cgroup fail, and in another one, where nobody is, all else
    /// that is measured.
    pub(super) fn experiment(&self, name: &str, target: &Cgroup, idle: &Cgroup) -> String {
        let (field, opens, others) = if self.kind == KINDS[0] {
            ("fileError", "open", "read")
        } else if self.sees_getppid() {
            ("syscallError", "openat", "read, getppid")
        } else {
            ("syscallError", "openat", "read")
        };
        let fault = |ops| {
            format!(
                "{{ops: [{ops}], errno: EIO, mechanism: {}}}",
                self.mechanism
            )
        };
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: {name}}}
spec:
  target: {{cgroup: {target}}}
  duration: 10m
  seed: 1
  faults:
  - {{id: opens, {field}: {opens}}}
  - {{id: others, target: {{cgroup: {idle}}}, {field}: {others}}}
",
            target = target.path(),
            idle = idle.path(),
            opens = fault(opens),
            others = fault(others),
        )
    }

    /// Whether it is only for a command that `kchaos run` starts.
    pub(super) fn is_for_commands(&self) -> bool {
        self.mechanism == FILTER
    }

    /// The fault of such a command: opens like those of the program that is measured, and no loader's.
    pub(super) fn word(&self) -> String {
        format!(
            "{}:openat=EIO,flags=O_NOFOLLOW,mechanism={}",
            self.kind, self.mechanism
        )
    }

    /// No security module is asked about it, and stock kernels keep `fmod_ret` from calls without
    /// arguments.
    fn sees_getppid(&self) -> bool {
        self.mechanism.contains("-syscall") && lab().starts_with("fault-")
            || self.mechanism == "kprobe-override"
    }
}
