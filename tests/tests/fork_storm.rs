//! Processes that live for a moment, inside of the target and outside: none is missed, none is hit.

#[cfg(test)]
mod tests {
    use std::{
        process::Stdio,
        time::{Duration, Instant},
    };

    use kchaos_tests::{Said, agent::Agent, cgroup::Cgroup, eventually, long, require};
    use serde_json::Value;

    fn processes() -> u64 {
        if long() { 10_000 } else { 2_000 }
    }

    fn start(cgroup: &Cgroup) -> std::process::Child {
        cgroup
            .command(env!("CARGO_BIN_EXE_storm"))
            .args([&processes().to_string(), "/etc/hostname"])
            .arg(format!("/sys/fs/cgroup{}", cgroup.path()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[test]
    fn all_processes_inside_are_hit_and_none_outside() {
        require!("file.error");
        let count = processes();
        let (target, neighbour) = (Cgroup::new("storm"), Cgroup::new("calm"));
        let agent = Agent::start(&[]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: storm}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - fileError: {{ops: [open], errno: EIO, path: /etc/hostname}}
",
            target.path()
        ));
        let began = Instant::now();
        let children = [&target, &neighbour].map(start);
        let [inside, outside] = children.map(|child| Said::from(child.wait_with_output().unwrap()));
        println!("{count} each in {:.0} s", began.elapsed().as_secs_f64());
        assert_eq!(
            inside.out,
            format!("0 opened, {count} failed, 0 otherwise\n"),
            "{inside:?}"
        );
        assert_eq!(
            outside.out,
            format!("{count} opened, 0 failed, 0 otherwise\n"),
            "{outside:?}"
        );
        let mut counters = Value::Null;
        eventually("all are counted", Duration::from_secs(20), || {
            let said = agent.ask(&["show", "storm", "--json"]);
            let shown: Value = serde_json::from_str(&said.out).unwrap();
            counters = shown["nodes"][0]["faults"][0]["counters"].clone();
            counters["injected"] == count
        });
        assert_eq!(counters["matched"], count, "{counters}");
        assert_eq!(counters["error"], 0, "{counters}");
    }
}
