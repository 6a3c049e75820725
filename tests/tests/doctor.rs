//! `kchaos doctor` tells the truth about every kernel and profile of the lab.

#[cfg(test)]
mod tests {
    use std::process::Command;

    use kchaos_tests::{
        Said, bpf::Loaded, cgroup::of_kchaos, has_file_error, has_net_loss, has_pressure_cpu,
        kchaos, profile,
    };
    use serde_json::Value;

    fn supported(report: &Value, kind: &str, mechanism: &str) -> Value {
        let rungs = report["faults"][kind].as_array().unwrap();
        let rung = rungs
            .iter()
            .find(|rung| rung["mechanism"] == mechanism)
            .unwrap();
        if rung["supported"] != true {
            assert!(!rung["reason"].as_str().unwrap().is_empty(), "{rung}");
        }
        rung["supported"].clone()
    }

    #[test]
    fn what_is_supported_is_what_works_and_nothing_is_left() {
        let before = Loaded::now();
        let said = kchaos(&["doctor", "--json"]);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let lsm = has_file_error() && !profile("nolsm");
        assert_eq!(supported(&report, "file.error", "lsm"), lsm, "{report}");
        assert_eq!(
            supported(&report, "file.error", "fmod-ret"),
            has_file_error(),
            "{report}"
        );
        assert_eq!(
            supported(&report, "net.loss", "cgroup-skb"),
            has_net_loss(),
            "{report}"
        );
        assert_eq!(
            supported(&report, "pressure.cpu", "cgroup-knob"),
            has_pressure_cpu(),
            "{report}"
        );
        assert_eq!(said.status, if has_net_loss() { 0 } else { 3 });
        assert_eq!(before.left_since(), Loaded::default());
        assert!(of_kchaos().is_empty());
    }

    #[test]
    fn it_ends_with_a_line_that_works() {
        let said = kchaos(&["doctor"]);
        let last = said.out.lines().last().unwrap().trim();
        if !has_net_loss() {
            assert!(last.contains("Nothing works here"), "{said:?}");
            return;
        }
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
        let unprobed = 3 + usize::from(has_pressure_cpu());
        let said_so = said.out.matches("not probed: needs").count();
        assert_eq!(said_so, unprobed, "{said:?}");
        assert!(said.out.contains("CAP_BPF and CAP_PERFMON"), "{said:?}");
        assert!(!said.out.contains(" yes"), "{said:?}");
        assert_eq!(said.status, 3);
    }
}
