//! `pressure.cpu` on a real kernel: whom it hits, how much, and that it ends.

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use kchaos_tests::{
        Said, agent::Agent, cgroup::Cgroup, cgroup::of_kchaos, counter, eventually, kchaos,
        registered, require, signal,
    };
    use serde_json::Value;

    const PATIENCE: Duration = Duration::from_secs(20);
    const FREE: &str = "max 100000";

    /// One fault on one cgroup.
    fn experiment(cgroup: &str, duration: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: slow}}
spec:
  target: {{cgroup: {cgroup}}}
  duration: {duration}
  faults:
  - pressureCpu: {{quota: 20%}}
"
        )
    }

    /// Something that takes all the time that it gets; gone with its cgroup.
    fn busy(cgroup: &Cgroup) -> Child {
        cgroup.script("while :; do :; done").spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn inject(target: &Cgroup, options: &[&str]) -> Child {
        Command::new("kchaos")
            .args(["inject", "--json", "--target", &target.target()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn ended(child: Child) -> (i32, Value) {
        let said = Said::from(child.wait_with_output().unwrap());
        let last = said.out.lines().last().unwrap();
        (said.status, serde_json::from_str(last).unwrap())
    }

    fn holds(cgroup: &Cgroup, limit: &str) {
        eventually(limit, PATIENCE, || cgroup.read("cpu.max") == limit);
    }

    /// Share of one processor over a while.
    fn share(cgroup: &Cgroup) -> f64 {
        let (used, start) = (cgroup.cpu_time(), Instant::now());
        thread::sleep(Duration::from_secs(3));
        cgroup.cpu_time().saturating_sub(used).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    fn nothing_is_left() {
        eventually("no guard is left", PATIENCE, || {
            registered("guard").is_empty()
        });
        eventually("no cgroup is left", PATIENCE, || of_kchaos().is_empty());
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "{check:?}");
        assert!(check.out.contains("nothing of kchaos is here"), "{check:?}");
    }

    #[test]
    fn the_target_keeps_its_share_and_its_neighbour_everything() {
        require!("pressure.cpu");
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let workers = [busy(&target), busy(&neighbour)];
        let child = inject(
            &target,
            &["--fault", "pressure.cpu=20%", "--duration", "8s"],
        );
        holds(&target, "20000 100000");
        let hit = share(&target);
        assert!((0.02..0.35).contains(&hit), "{hit}");
        // It has a processor of its own, which the machine may have been short of.
        let spared = share(&neighbour);
        assert!(spared > 2.0 * hit, "{spared} {hit}");
        assert_eq!(neighbour.read("cpu.max"), FREE);
        let (status, account) = ended(child);
        assert_eq!(status, 0, "{account}");
        assert_eq!(target.read("cpu.max"), FREE);
        let (matched, injected) = (
            counter(&account, 0, "matched"),
            counter(&account, 0, "injected"),
        );
        assert!(injected > 5 && injected <= matched, "{account}");
        workers.into_iter().for_each(end);
        nothing_is_left();
    }

    #[test]
    fn an_idle_target_is_inconclusive_and_after_is_waited_for() {
        require!("pressure.cpu");
        let target = Cgroup::new("target");
        let fault = "pressure.cpu=150%,after=2s";
        let child = inject(&target, &["--fault", fault, "--duration", "2s"]);
        eventually("it is registered", PATIENCE, || {
            !registered("guard").is_empty()
        });
        assert_eq!(target.read("cpu.max"), FREE);
        holds(&target, "150000 100000");
        let (status, account) = ended(child);
        assert_eq!(status, 4, "nothing was held up: {account}");
        assert_eq!(target.read("cpu.max"), FREE);
        nothing_is_left();
    }

    #[test]
    fn the_smaller_of_two_wins_and_what_was_there_comes_back() {
        require!("pressure.cpu");
        let target = Cgroup::new("target");
        target.write("cpu.max", "90000 50000");
        let long = &["--fault", "pressure.cpu=50%", "--duration", "1m"];
        let short = &["--fault", "pressure.cpu=10%", "--duration", "1m"];
        let first = inject(&target, long);
        holds(&target, "50000 100000");
        let second = inject(&target, short);
        holds(&target, "10000 100000");
        signal(second.id(), libc::SIGINT);
        holds(&target, "50000 100000");
        signal(first.id(), libc::SIGINT);
        holds(&target, "90000 50000");
        for child in [first, second] {
            assert_eq!(ended(child).0, 4);
        }
        let wide = kchaos(&[
            "inject",
            "--target",
            &target.target(),
            "--fault",
            "pressure.cpu=300%",
            "--duration",
            "1s",
        ]);
        assert_eq!(wide.status, 3, "{wide:?}");
        assert!(wide.err.contains("'90000 50000' already"), "{wide:?}");
        nothing_is_left();
    }

    #[test]
    fn what_somebody_else_sets_meanwhile_stays() {
        require!("pressure.cpu");
        let target = Cgroup::new("target");
        let child = inject(
            &target,
            &["--fault", "pressure.cpu=50%", "--duration", "1m"],
        );
        holds(&target, "50000 100000");
        target.write("cpu.max", "70000 100000");
        signal(child.id(), libc::SIGINT);
        ended(child);
        assert_eq!(target.read("cpu.max"), "70000 100000");
        nothing_is_left();
    }

    #[test]
    fn without_the_controller_it_is_refused_with_what_to_do() {
        require!("pressure.cpu");
        let parent = Cgroup::new("parent");
        let target = parent.child("target");
        let fault = ["--fault", "pressure.cpu=50%"];
        let said = kchaos(&[
            "inject",
            "--target",
            &target.target(),
            fault[0],
            fault[1],
            "--duration",
            "1s",
        ]);
        assert_eq!(said.status, 3, "{said:?}");
        assert!(said.err.contains("echo +cpu >/sys/fs/cgroup"), "{said:?}");
        // The same for the cgroup that `kchaos run` makes below its own.
        let here = parent.script("kchaos run --fault pressure.cpu=50% -- true");
        let said = Said::from({ here }.output().unwrap());
        assert_eq!(said.status, 125, "{said:?}");
        assert!(said.err.contains("cpu controller"), "{said:?}");
        nothing_is_left();
    }

    #[test]
    fn a_command_can_be_limited_where_the_controller_is_handed_on() {
        require!("pressure.cpu");
        // In the root cgroup, which hands every controller on and may hold processes too.
        let script = "echo $$ >/sys/fs/cgroup/cgroup.procs
             exec kchaos run --json --timeout 1m --fault pressure.cpu=10% -- \
             bash -c 'end=$((SECONDS + 3)); while ((SECONDS < end)); do :; done'";
        let said = Said::from(Command::new("bash").args(["-c", script]).output().unwrap());
        let account: Value = said
            .err
            .lines()
            .find_map(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("{said:?}"));
        assert_eq!(said.status, 0, "{said:?}");
        assert!(counter(&account, 0, "injected") > 0, "{account}");
        nothing_is_left();
    }

    #[test]
    fn an_agent_holds_it_to_the_deadline() {
        require!("pressure.cpu");
        let target = Cgroup::new("target");
        let worker = busy(&target);
        let mut agent = Agent::start(&[]);
        agent.apply(&experiment(&target.path(), "3s"));
        assert_eq!(target.read("cpu.max"), "20000 100000");
        eventually("the deadline ends it", PATIENCE, || {
            agent.ask(&["ls"]).out.contains("passed")
        });
        assert_eq!(target.read("cpu.max"), FREE);
        end(worker);
        assert_eq!(registered("guard").len(), 1, "it stays with the agent");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        nothing_is_left();
    }
}
