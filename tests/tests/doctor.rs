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
        let said = Said::from(
            Command::new("setpriv")
                .args([
                    "--reuid",
                    "65534",
                    "--regid",
                    "65534",
                    "--clear-groups",
                    "--",
                ])
                .args(["kchaos", "doctor"])
                .output()
                .unwrap(),
        );
        // Without a cgroup v2 tree there is nothing that a right would help with.
        let unprobed = 9 + usize::from(can("pressure.cpu"));
        let said_so = said.out.matches("not probed: needs").count();
        assert_eq!(said_so, unprobed, "{said:?}");
        assert!(said.out.contains("CAP_BPF and CAP_PERFMON"), "{said:?}");
        // Only a filter is everybody's.
        assert_eq!(said.out.matches(" yes").count(), 3, "{said:?}");
        assert!(said.out.contains("seccomp-notify   yes"), "{said:?}");
        assert_eq!(said.status, 0);
    }
}
