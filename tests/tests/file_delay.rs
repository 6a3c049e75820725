//! `file.delay` on a real kernel: who waits, for how long, beside what, and where it is refused.

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use kchaos_tests::{
        Said,
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        counter,
        needs::{can_by, has_its_turn, skip},
        require, run_script,
    };

    /// Makes forty folders in one, and one beside it, and tells how many milliseconds that took.
    fn forty_folders(cgroup: &Cgroup, folder: &Path) -> u64 {
        let script = "import os, sys, time
start = time.monotonic()
for name in range(40): os.mkdir(f'{sys.argv[1]}/in/{name}')
print(int((time.monotonic() - start) * 1000))
os.mkdir(f'{sys.argv[1]}/beside')";
        std::fs::create_dir(folder.join("in")).unwrap();
        let mut command = cgroup.command("/usr/bin/python3");
        let said: Said = command
            .args(["-c", script])
            .arg(folder)
            .output()
            .unwrap()
            .into();
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(folder.join("in").read_dir().unwrap().count(), 40);
        said.out.trim().parse().unwrap()
    }

    /// Forty operations of 5 ms each take 200 ms at least, and the same of a neighbour do not; another
    /// folder is not concerned; an error comes after the delays, in the order of the rules.
    fn operations_wait_and_are_done_then(mechanism: &str) {
        if !can_by("file.delay", mechanism) || !has_its_turn(mechanism) {
            return skip(&format!("no {mechanism} here, or not its turn"));
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let path = path.display();
        let mut agent = Agent::start(&[]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: slow}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - id: first
    fileDelay: {{ops: [mkdir, rmdir], delay: 3ms, path: {path}/, mechanism: {mechanism}}}
  - id: error
    fileError: {{ops: [mkdir], errno: EDQUOT, path: {path}/, when: 41, mechanism: {mechanism}}}
  - id: second
    fileDelay: {{ops: [mkdir], delay: 2ms, path: {path}/, times: 40, mechanism: {mechanism}}}
",
            target.path()
        ));
        let used = target.cpu_time();
        let slow = forty_folders(&target, folder.path());
        let used = target.cpu_time().checked_sub(used).unwrap();
        assert!(slow >= 200, "{slow} ms for forty that wait for 5 ms each");
        assert!(
            used >= Duration::from_millis(200),
            "billed to the target: {used:?}"
        );
        let other = tempfile::tempdir().unwrap();
        let fast = forty_folders(&neighbour, other.path());
        assert!(
            fast < slow,
            "{fast} ms in the neighbour, {slow} ms in the target"
        );
        let said: Said = target
            .script(&format!("mkdir {path}/one-more"))
            .output()
            .unwrap()
            .into();
        assert!(said.err.contains("Disk quota exceeded"), "{said:?}");
        let said = agent.ask(&["stop", "slow", "--json"]);
        let account: serde_json::Value =
            serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
        // The second delay stands behind the error, which has ended the walk the last time.
        for (fault, matched, injected) in [(0, 41, 41), (1, 41, 1), (2, 40, 40)] {
            let account = &account["nodes"][0];
            assert_eq!(counter(account, fault, "matched"), matched, "{account}");
            assert_eq!(counter(account, fault, "injected"), injected, "{account}");
        }
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn operations_wait_by_lsm() {
        operations_wait_and_are_done_then("lsm");
    }

    #[test]
    fn operations_wait_by_fmod_ret() {
        operations_wait_and_are_done_then("fmod-ret");
    }

    #[test]
    fn operations_wait_in_a_command_as_well() {
        require!("file.delay");
        let (said, account) = run_script(
            &["file.delay:open=5ms,path=/etc/hostname,when=2+,times=2"],
            "for i in 1 2 3 4; do cat /etc/hostname; done",
        );
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(said.out.lines().count(), 4, "{said:?}");
        assert_eq!(counter(&account, 0, "matched"), 4, "{account}");
        assert_eq!(counter(&account, 0, "injected"), 2, "{account}");
        assert_eq!(counter(&account, 0, "overBudget"), 1, "{account}");
    }
}
