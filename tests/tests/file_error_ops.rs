//! Each operation of `file.error` on a real kernel: it is hit, and no other, and on every file system
//! it counts once.

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        files::{CALLS, OPS, ROUNDS, lower_files, prepare},
        kchaos, lab, long,
        mounts::Mounted,
        needs::{can_by, has_its_turn, skip},
        require,
    };
    use serde_json::Value;

    const EBADE: i32 = 52;

    /// Operations of which the kernel does not say on which mount they happen.
    const WITHOUT_PATH: [&str; 4] = ["getxattr", "setxattr", "listxattr", "removexattr"];

    /// A file system with a target of its own.
    struct Place {
        name: &'static str,
        mounted: Mounted,
        target: Cgroup,
    }

    fn places() -> Vec<Place> {
        let lower = lower_files();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        [
            ("ext4", Mounted::ext4()),
            ("tmpfs", Mounted::tmpfs()),
            ("overlay", Mounted::overlay(&lower)),
        ]
        .map(|(name, mounted)| Place {
            name,
            mounted,
            target: Cgroup::new(name),
        })
        .into()
    }

    /// Makes all calls from a cgroup; the errno of each.
    fn calls(cgroup: &Cgroup, place: &Place, round: usize) -> Vec<i32> {
        let opened = prepare(place.mounted.path(), round);
        let output = cgroup
            .command(env!("CARGO_BIN_EXE_filer"))
            .args(opened.arguments(place.mounted.path(), round))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Two faults for each place: the operation fails in its folder; and it is counted, wherever.
    fn experiment(places: &[Place], op: &str, mechanism: &str) -> String {
        let mut faults = String::new();
        for (index, place) in places.iter().enumerate() {
            let target = place.target.path();
            let path = if WITHOUT_PATH.contains(&op) {
                String::new()
            } else {
                format!(", path: {}/", place.mounted.path().display())
            };
            write!(
                faults,
                "  - {{id: all{index}, target: {{cgroup: {target}}}, fileError: {{ops: [{op}], \
                 errno: EIO, shadow: true, mechanism: {mechanism}}}}}
  - {{id: hit{index}, target: {{cgroup: {target}}}, fileError: {{ops: [{op}], errno: EBADE, \
                 mechanism: {mechanism}{path}}}}}\n"
            )
            .unwrap();
        }
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: files}}
spec:
  duration: 10m
  faults:
{faults}"
        )
    }

    fn counter(said: &Value, id: &str, name: &str) -> u64 {
        let faults = said["nodes"][0]["faults"].as_array().unwrap();
        let fault = faults.iter().find(|fault| fault["fault"] == id);
        fault
            .and_then(|fault| fault["counters"][name].as_u64())
            .unwrap_or_else(|| panic!("no {name} of {id} in {said}"))
    }

    fn each_operation_alone(mechanism: &str) {
        if !can_by("file.error", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        // Verifiers of Linux 7 take their time for these programs, and the emulator for them.
        if !has_its_turn(mechanism) || (!long() && lab().starts_with("debian-7")) {
            return skip("here only with --long");
        }
        assert!(OPS.len() < ROUNDS);
        let before = Loaded::now();
        let places = places();
        let neighbour = Cgroup::new("neighbour");
        for place in &places {
            let plain = calls(&place.target, place, OPS.len());
            assert_eq!(
                plain,
                vec![0; CALLS.len()],
                "{} without a fault",
                place.name
            );
        }
        let mut agent = Agent::start(&[]);
        for (round, op) in OPS.into_iter().enumerate() {
            agent.apply(&experiment(&places, op, mechanism));
            for place in &places {
                let errnos = calls(&place.target, place, round);
                for ((call, ops, _), errno) in CALLS.iter().zip(errnos) {
                    let wanted = if ops.contains(&op) { EBADE } else { 0 };
                    let what = format!("{call} on {} under {op} by {mechanism}", place.name);
                    assert_eq!(errno, wanted, "{what}");
                }
            }
            let spared = calls(&neighbour, &places[round % places.len()], round);
            assert_eq!(spared, vec![0; CALLS.len()], "the neighbour of {op}");
            let said = agent.ask(&["stop", "files", "--json"]);
            assert_eq!(said.status, 0, "{said:?}");
            let said: Value = serde_json::from_str(said.out.trim()).unwrap();
            let made = CALLS.iter().filter(|(_, ops, _)| ops.contains(&op)).count();
            for (index, place) in places.iter().enumerate() {
                let hit = format!("hit{index}");
                let what = format!("{op} on {} by {mechanism}: {said}", place.name);
                assert_eq!(counter(&said, &hit, "injected"), made as u64, "{what}");
                assert_eq!(counter(&said, &hit, "matched"), made as u64, "{what}");
                assert_eq!(counter(&said, &hit, "error"), 0, "{what}");
                // Wherever it is: what the program needs to start, and the calls, each once.
                let all = counter(&said, &format!("all{index}"), "wouldInject");
                assert_eq!(all, counter(&said, "all0", "wouldInject"), "{what}");
                assert!(all >= made as u64, "{what}");
            }
        }
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn each_operation_alone_by_lsm() {
        each_operation_alone("lsm");
    }

    #[test]
    fn each_operation_alone_by_fmod_ret() {
        each_operation_alone("fmod-ret");
    }

    #[test]
    fn a_path_is_refused_where_the_kernel_does_not_say_the_mount() {
        require!("file.error");
        let fault = "file.error:open+getxattr=EIO,path=/etc/";
        let said = kchaos(&["run", "--fault", fault, "--", "true"]);
        assert_eq!(said.status, 125, "{said:?}");
        let wanted = "path: can't be told for getxattr: the kernel does not say on which mount";
        assert!(said.err.contains(wanted), "{said:?}");
    }
}
