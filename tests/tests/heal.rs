//! What the kernel does not undo ends whoever is alive to end it, and everything of ours is found.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    use kchaos_tests::{
        Said, agent::Agent, bpf::Loaded, cgroup::Cgroup, cgroup::of_kchaos, eventually, kchaos,
        registered, require, signal,
    };

    const FREE: &str = "max 100000";
    const HIT: &str = "20000 100000";
    const JOURNAL: &str = "/run/kchaos/journal";
    const DISABLED: &str = "/run/kchaos/DISABLED";

    /// On a busy machine under emulation.
    const SLACK: Duration = Duration::from_secs(10);

    fn experiment(cgroup: &Cgroup, duration: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: both}}
spec:
  target: {{cgroup: {}}}
  duration: {duration}
  faults:
  - pressureCpu: {{quota: 20%}}
  - netLoss: {{share: 100%, direction: ingress}}
",
            cgroup.path()
        )
    }

    /// An agent that limits a target, whose guard watches.
    fn armed(duration: &str) -> (Agent, Cgroup) {
        let target = Cgroup::new("target");
        let agent = Agent::start(&["--lease", "2s"]);
        agent.apply(&experiment(&target, duration));
        assert_eq!(target.read("cpu.max"), HIT);
        (agent, target)
    }

    fn freed(target: &Cgroup, why: &str, within: Duration) {
        eventually(why, within, || target.read("cpu.max") == FREE);
    }

    fn nothing_is_left(before: &Loaded) {
        eventually("no guard is left", SLACK, || registered("guard").is_empty());
        eventually("no cgroup is left", SLACK, || of_kchaos().is_empty());
        assert_eq!(before.left_since(), Loaded::default());
        assert!(!Path::new(JOURNAL).exists());
    }

    #[test]
    fn kill_9_of_an_agent_that_never_comes_back() {
        require!("pressure.cpu");
        let before = Loaded::now();
        let (mut agent, target) = armed("10m");
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "it lives: {check:?}");
        for what in [
            "live: process: agent",
            "live: process: guard",
            "live: change: cpu.max",
            "live: cgroup: ",
            "live: BPF program: ",
            "live: BPF map: ",
            "live: BPF link: ",
        ] {
            assert!(check.out.contains(what), "{what}: {check:?}");
        }
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        freed(&target, "the guard undoes it", Duration::from_secs(5));
        nothing_is_left(&before);
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "{check:?}");
        assert!(check.out.contains("nothing of kchaos is here"), "{check:?}");
    }

    #[test]
    fn a_run_that_could_not_register_is_found_and_stopped() {
        // What looks for it needs the tree of cgroups v2, which this kind needs too.
        require!("pressure.cpu");
        let before = Loaded::now();
        // Before somebody without privileges could make it.
        fs::create_dir_all("/run/kchaos").unwrap();
        let mut run = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["kchaos", "run", "--allow-no-hit"])
            .args(["--fault", "syscall.error:fsync=EIO", "--", "sleep", "300"])
            .spawn()
            .unwrap();
        // setpriv's pid is that of what it becomes.
        let name = format!("process: run {}", run.id());
        eventually("it is found", SLACK, || {
            kchaos(&["heal", "--check"]).out.contains(&name)
        });
        assert!(registered("run").is_empty());
        let said = kchaos(&["stop", "--all"]);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(
            said.out.contains(&format!(": run {}", run.id())),
            "{said:?}"
        );
        assert!(!run.wait().unwrap().success());
        nothing_is_left(&before);
    }

    #[test]
    fn kill_9_of_inject_and_of_run_is_undone_as_well() {
        require!("pressure.cpu");
        let before = Loaded::now();
        let target = Cgroup::new("target");
        let mut inject = Command::new("kchaos")
            .args(["inject", "--target", &target.target()])
            .args(["--fault", "pressure.cpu=20%", "--duration", "10m"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it is limited", SLACK, || target.read("cpu.max") == HIT);
        inject.kill().unwrap();
        inject.wait().unwrap();
        freed(&target, "the guard undoes it", Duration::from_secs(5));
        nothing_is_left(&before);
        // In the root cgroup, which hands every controller on and may hold processes too.
        let script = "echo $$ >/sys/fs/cgroup/cgroup.procs
            exec kchaos run --fault pressure.cpu=20% -- sleep 300";
        let mut run = Command::new("bash").args(["-c", script]).spawn().unwrap();
        eventually("a command is limited", SLACK, || {
            let mut limits = of_kchaos().into_iter().map(|cgroup| cgroup.join("cpu.max"));
            limits.any(|file| fs::read_to_string(file).is_ok_and(|limit| limit.trim() == HIT))
        });
        run.kill().unwrap();
        run.wait().unwrap();
        nothing_is_left(&before);
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "{check:?}");
    }

    #[test]
    fn a_frozen_agent_loses_its_lease_and_finds_out() {
        require!("pressure.cpu");
        let before = Loaded::now();
        let (mut agent, target) = armed("10m");
        let start = Instant::now();
        agent.signal(libc::SIGSTOP);
        freed(&target, "the lease is over", Duration::from_secs(2) + SLACK);
        assert!(start.elapsed() > Duration::from_secs(1), "not before");
        agent.signal(libc::SIGCONT);
        eventually("the agent says so", SLACK, || {
            let shown = agent.ask(&["show", "both"]);
            shown.out.contains("undone before its deadline")
        });
        assert_eq!(target.read("cpu.max"), FREE);
        assert_eq!(agent.ask(&["stop", "both"]).status, 0);
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        nothing_is_left(&before);
    }

    #[test]
    fn the_deadline_holds_in_a_frozen_agent_too() {
        require!("pressure.cpu");
        let target = Cgroup::new("target");
        let agent = Agent::start(&["--lease", "10m"]);
        agent.apply(&experiment(&target, "4s"));
        agent.signal(libc::SIGSTOP);
        assert_eq!(target.read("cpu.max"), HIT);
        freed(&target, "the deadline", Duration::from_secs(4) + SLACK);
        agent.signal(libc::SIGCONT);
    }

    #[test]
    fn a_guard_that_dies_is_replaced() {
        require!("pressure.cpu");
        let before = Loaded::now();
        let (mut agent, target) = armed("10m");
        for kill in [libc::SIGKILL, libc::SIGSTOP] {
            let first = registered("guard");
            assert_eq!(first.len(), 1);
            signal(first[0], kill);
            eventually("another guard watches", SLACK, || {
                registered("guard").iter().any(|guard| *guard != first[0])
            });
            assert_eq!(target.read("cpu.max"), HIT);
            kchaos(&["heal"]);
            assert_eq!(target.read("cpu.max"), HIT, "what lives is left alone");
        }
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        freed(&target, "the new guard undoes it", SLACK);
        nothing_is_left(&before);
    }

    /// Kills agent and guard at once, and returns the target, still limited.
    fn orphaned() -> Cgroup {
        let (mut agent, target) = armed("10m");
        let guards = registered("guard");
        // So that neither sees the other's end.
        agent.signal(libc::SIGSTOP);
        for guard in guards {
            signal(guard, libc::SIGKILL);
        }
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        assert_eq!(target.read("cpu.max"), HIT);
        target
    }

    #[test]
    fn kill_9_of_both_and_then_heal() {
        require!("pressure.cpu");
        let before = Loaded::now();
        let target = orphaned();
        let check = kchaos(&["heal", "--check", "--json"]);
        assert_eq!(check.status, 1, "{check:?}");
        assert!(check.out.contains("'20000 100000' instead of"), "{check:?}");
        assert_eq!(target.read("cpu.max"), HIT, "it only looks");
        let heal = kchaos(&["heal"]);
        assert_eq!(heal.status, 0, "{heal:?}");
        assert!(heal.out.contains("now 'max 100000'"), "{heal:?}");
        assert_eq!(target.read("cpu.max"), FREE);
        assert_eq!(kchaos(&["heal", "--check"]).status, 0);
        nothing_is_left(&before);
    }

    #[test]
    fn the_next_agent_heals_too() {
        require!("pressure.cpu");
        let target = orphaned();
        let agent = Agent::start(&[]);
        assert_eq!(target.read("cpu.max"), FREE);
        drop(agent);
        kchaos(&["heal"]);
    }

    #[test]
    fn a_torn_and_a_damaged_journal_do_not_keep_heal_from_what_can_be_read() {
        require!("pressure.cpu");
        let target = orphaned();
        let whole = fs::read(JOURNAL).unwrap();
        let mut damaged = b"not a record at all".to_vec();
        damaged.extend(&whole);
        damaged.extend(&whole[..whole.len() / 2]);
        fs::write(JOURNAL, damaged).unwrap();
        let check = kchaos(&["heal", "--check"]);
        assert!(check.out.contains("bytes of the journal"), "{check:?}");
        let heal = kchaos(&["heal"]);
        assert_eq!(target.read("cpu.max"), FREE, "{heal:?}");
        assert_eq!(kchaos(&["heal", "--check"]).status, 0, "{heal:?}");
    }

    #[test]
    fn a_file_ends_and_forbids_everything() {
        require!("pressure.cpu");
        let before = Loaded::now();
        let (agent, target) = armed("10m");
        let other = Cgroup::new("other");
        let mut inject = Command::new("kchaos")
            .args(["inject", "--target", &other.target()])
            .args(["--fault", "pressure.cpu=20%", "--duration", "10m"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("inject is armed", SLACK, || other.read("cpu.max") == HIT);
        fs::write(DISABLED, "").unwrap();
        freed(&target, "the agent obeys", SLACK);
        freed(&other, "inject obeys", SLACK);
        assert_eq!(inject.wait().unwrap().code(), Some(4));
        assert_eq!(before.left_since(), Loaded::default(), "packets too");
        let shown = agent.ask(&["show", "both"]);
        assert!(shown.out.contains(DISABLED), "{shown:?}");
        let refused = |arguments: &[&str], status| {
            let said = kchaos(arguments);
            assert_eq!(said.status, status, "{said:?}");
            assert!(said.err.contains(DISABLED), "{said:?}");
        };
        let (target, fault) = (other.target(), "net.loss=1%,direction=ingress");
        refused(
            &[
                "inject",
                "--target",
                &target,
                "--fault",
                fault,
                "--duration",
                "1s",
            ],
            3,
        );
        refused(&["run", "--fault", fault, "--", "true"], 125);
        fs::remove_file(DISABLED).unwrap();
        drop(agent);
        kchaos(&["heal"]);
        nothing_is_left(&before);
    }

    #[test]
    fn stop_all_ends_a_frozen_agent_and_everything_else() {
        require!("pressure.cpu", "net.loss");
        let before = Loaded::now();
        let (mut agent, target) = armed("10m");
        let other = Cgroup::new("other");
        let mut inject = Command::new("kchaos")
            .args(["inject", "--target", &other.target()])
            .args(["--fault", "pressure.cpu=20%", "--duration", "10m"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("inject is armed", SLACK, || other.read("cpu.max") == HIT);
        agent.signal(libc::SIGSTOP);
        // Reaped as init would.
        let pid = agent.child.id();
        let said = Said::from(
            Command::new("kchaos")
                .args(["stop", "--all"])
                .output()
                .unwrap(),
        );
        assert_eq!(said.status, 0, "{said:?}");
        assert!(said.out.contains(&format!("agent {pid}")), "{said:?}");
        assert!(
            said.out.contains("nothing that injects is left"),
            "{said:?}"
        );
        assert_eq!(
            (target.read("cpu.max"), other.read("cpu.max")),
            (FREE.into(), FREE.into())
        );
        assert!(agent.child.try_wait().unwrap().is_some());
        assert!(inject.try_wait().unwrap().is_some());
        assert_eq!(kchaos(&["heal", "--check"]).status, 0);
        nothing_is_left(&before);
        let again = kchaos(&["stop", "--all", "--json"]);
        assert_eq!(again.status, 0, "{again:?}");
        assert!(again.out.contains("\"clean\":true"), "{again:?}");
    }
}
