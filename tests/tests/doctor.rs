//! `kchaos doctor` tells the truth about every kernel and profile of the lab.

#[cfg(test)]
mod tests {
    use std::process::Command;

    use kchaos_tests::{Said, bpf::Loaded, cgroup::of_kchaos, kchaos, needs::can, needs::can_by};
    use serde_json::Value;

    /// Holds the list that lab tests are skipped by against what the kernel can really do, both
    /// ways; returns whether anything works.
    fn agrees_with_the_list(report: &Value) -> bool {
        let faults = report["faults"].as_object().unwrap();
        assert!(!faults.is_empty(), "{report}");
        let mut any = false;
        for (kind, rungs) in faults {
            let mut works = false;
            for rung in rungs.as_array().unwrap() {
                let mechanism = rung["mechanism"].as_str().unwrap();
                let supported = rung["supported"] == true;
                assert!(
                    supported || !rung["reason"].as_str().unwrap().is_empty(),
                    "{rung}"
                );
                assert_eq!(
                    supported,
                    can_by(kind, mechanism),
                    "{kind} by {mechanism}: the kernel, and what MISSING in tests/src/needs.rs has \
                     of it: {rung}"
                );
                works |= supported;
            }
            assert_eq!(works, can(kind), "{kind}: {rungs}");
            any |= works;
        }
        any
    }

    #[test]
    fn what_is_supported_is_what_works_and_nothing_is_left() {
        let before = Loaded::now();
        let said = kchaos(&["doctor", "--json"]);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let any = agrees_with_the_list(&report);
        assert_eq!(said.status, if any { 0 } else { 3 });
        assert_eq!(before.left_since(), Loaded::default());
        assert!(of_kchaos().is_empty());
    }

    #[test]
    fn it_ends_with_a_line_that_works() {
        let said = kchaos(&["doctor"]);
        let last = said.out.lines().last().unwrap().trim();
        let tried: Said = Command::new("bash")
            .args(["-c", last])
            .output()
            .unwrap()
            .into();
        // The example's command fails, or hangs, because it was hit; 123 would say that it was not,
        // and 125 to 127 that it did not even run.
        assert!(matches!(tried.status, 1..=122 | 124), "{last}: {tried:?}");
    }

    #[test]
    fn without_privileges_nothing_is_guessed() {
        let doctor = |words: &[&str]| {
            let unprivileged = [
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--",
                "kchaos",
                "doctor",
            ];
            let command = Command::new("setpriv")
                .args(unprivileged)
                .args(words)
                .output();
            Said::from(command.unwrap())
        };
        let report: Value = serde_json::from_str(&doctor(&["--json"]).out).unwrap();
        let (mut unprobed, mut works) = (0, 0);
        for (kind, rungs) in report["faults"].as_object().unwrap() {
            for rung in rungs.as_array().unwrap() {
                let mechanism = rung["mechanism"].as_str().unwrap();
                let supported = match mechanism {
                    // Only a filter is everybody's.
                    "seccomp-notify" => Value::Bool(true),
                    // Without a cgroup v2 tree there is nothing that a right would help with.
                    "cgroup-knob" if !can_by(kind, mechanism) => Value::Bool(false),
                    _ => Value::Null,
                };
                assert_eq!(rung["supported"], supported, "{kind}: {rung}");
                unprobed += usize::from(supported.is_null());
                works += usize::from(supported == true);
            }
        }
        assert!(unprobed > 0 && works > 0, "{report}");
        let said = doctor(&[]);
        let said_so = said.out.matches("not probed: needs").count();
        assert_eq!(said_so, unprobed, "{said:?}");
        assert!(said.out.contains("CAP_BPF and CAP_PERFMON"), "{said:?}");
        assert_eq!(said.out.matches(" yes").count(), works, "{said:?}");
        assert!(said.out.contains("seccomp-notify   yes"), "{said:?}");
        assert_eq!(said.status, 0);
    }
}
