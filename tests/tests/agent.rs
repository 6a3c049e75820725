//! Agent, scheduler and the commands that ask them, with real faults.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Stdio, time::Duration};

    use kchaos_tests::{
        agent::Agent, bpf::Loaded, cgroup::Cgroup, cgroup::of_kchaos, eventually, kchaos,
        registered, require,
    };
    use serde_json::Value;

    fn experiment(cgroup: &str, duration: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: first}}
spec:
  target: {{cgroup: {cgroup}}}
  duration: {duration}
  seed: 42
  faults:
  - id: hostname
    fileError: {{ops: [open], errno: EIO, path: /etc/hostname}}
"
        )
    }

    fn hits(cgroup: &Cgroup) -> bool {
        !cgroup
            .script("read x </etc/hostname")
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    #[test]
    fn an_experiment_lives_and_ends() {
        require!("file.error");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut agent = Agent::start(&[]);
        let file = agent.file(&experiment(&target.path(), "1m"));
        let said = agent.ask(&["apply", &file]);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(
            said.out.contains("lsm") || said.out.contains("fmod-ret"),
            "{said:?}"
        );
        assert!(hits(&target) && !hits(&neighbour));
        assert!(agent.ask(&["ls"]).out.contains("first"));
        eventually("the next report counts it", Duration::from_secs(20), || {
            let shown = agent.ask(&["show", "first", "--json"]);
            let shown: Value = serde_json::from_str(&shown.out).unwrap();
            shown.to_string().contains("\"injected\":1")
        });
        let again = agent.ask(&["apply", &file]);
        assert_eq!(again.status, 2, "the name is taken: {again:?}");
        let stopped = agent.ask(&["stop", "first"]);
        assert_eq!(stopped.status, 0, "{stopped:?}");
        assert!(!hits(&target), "stop has returned");
        // The deadline ends it as well, and with --wait the outcome is the exit status.
        let file = agent.file(&experiment(&target.path(), "4s"));
        let mut worker = target
            .script("while sleep 0.1; do read x </etc/hostname; done")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let waited = agent.ask(&["apply", "--wait", &file]);
        assert_eq!(waited.status, 0, "{waited:?}");
        for (pass, status) in [("> 0", 0), ("> 1000000", 1)] {
            let check = format!("evidence: {{fault: hostname, field: injected}}, pass: \"{pass}\"");
            let text = format!(
                "{}  checks:\n  - {{id: hit, {check}}}\n",
                experiment(&target.path(), "2s")
            );
            let waited = agent.ask(&["apply", "--wait", &agent.file(&text)]);
            assert_eq!(waited.status, status, "{pass} {waited:?}");
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        assert!(!hits(&target));
        let file = agent.file(&experiment(&target.path(), "1s"));
        let waited = agent.ask(&["apply", "--wait", &file]);
        assert_eq!(waited.status, 4, "nothing was hit: {waited:?}");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
        assert!(!agent.socket().exists() && of_kchaos().is_empty());
    }

    #[test]
    fn kill_9_of_the_agent_ends_the_faults_at_once() {
        require!("file.error");
        let before = Loaded::now();
        let target = Cgroup::new("target");
        let mut agent = Agent::start(&[]);
        let text = experiment(&target.path(), "10m")
            + "  - id: packets\n    netLoss: {share: 100%, direction: ingress}\n";
        let said = agent.ask(&["apply", &agent.file(&text)]);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(hits(&target));
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        assert!(!hits(&target), "its links were its descriptors");
        assert_eq!(before.left_since(), Loaded::default());
        let dead = agent.ask(&["ls"]);
        assert_eq!(dead.status, 1, "{dead:?}");
        assert!(dead.err.contains("no agent"), "{dead:?}");
        // Nobody ever starts another: its guard removes what it had written.
        let limit = Duration::from_secs(10);
        eventually("no file is left", limit, || {
            registered("agent").is_empty() && registered("guard").is_empty()
        });
        eventually("no cgroup is left", limit, || of_kchaos().is_empty());
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "{check:?}");
    }

    #[test]
    fn what_must_not_be_hit_is_refused_and_changes_nothing() {
        require!("file.error");
        let agent = Agent::start(&[]);
        let before = Loaded::now();
        let own = fs::read_to_string(format!("/proc/{}/cgroup", agent.child.id())).unwrap();
        let own = own.trim().trim_start_matches("0::");
        assert!(Path::new(own).is_absolute());
        for (cgroup, status) in [(own, 2), ("/no/such/cgroup", 3)] {
            let said = agent.ask(&["apply", &agent.file(&experiment(cgroup, "1m"))]);
            assert_eq!(said.status, status, "{cgroup}: {said:?}");
        }
        let said = agent.ask(&["apply", &agent.file(&experiment("/", "1m"))]);
        assert_eq!(said.status, 2, "{said:?}");
        // Something that is called kubelet, two levels below the target.
        let folder = tempfile::tempdir().unwrap();
        let kubelet = folder.path().join("kubelet");
        fs::copy("/bin/sleep", &kubelet).unwrap();
        let node = Cgroup::new("node");
        let inner = node.child("kubelet.service");
        let mut daemon = inner
            .command(kubelet.to_str().unwrap())
            .arg("1000")
            .spawn()
            .unwrap();
        let said = agent.ask(&["apply", &agent.file(&experiment(&node.path(), "1m"))]);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.err.contains("holds kubelet"), "{said:?}");
        let pid = format!("pid={}", daemon.id());
        let said = kchaos(&[
            "inject",
            "--target",
            &pid,
            "--duration",
            "1s",
            "--fault",
            "file.error:open=EIO",
        ]);
        assert_eq!(said.status, 2, "{said:?}");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        drop((inner, node));
        assert_eq!(before.left_since(), Loaded::default());
    }
}
