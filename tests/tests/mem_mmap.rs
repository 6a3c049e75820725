//! `mem.mmap` on a real kernel.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        agent::Agent, bpf::Loaded, cgroup::Cgroup, counter, found, memory::asked, require,
        run_script,
    };
    use serde_json::Value;

    const NO_MEMORY: i32 = libc::ENOMEM;

    fn experiment(target: &Cgroup, block: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: memory}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - memMmap: {{errno: ENOMEM, {block}}}
",
            target.path()
        )
    }

    fn ask(cgroup: &Cgroup, ways: &[&str]) -> Vec<i32> {
        asked(&mut cgroup.command(env!("CARGO_BIN_EXE_mapper")), ways)
    }

    /// What became of the ways in a target under a fault, and the last report.
    fn under(agent: &Agent, target: &Cgroup, block: &str, ways: &[&str]) -> (Vec<i32>, Value) {
        agent.apply(&experiment(target, block));
        let became = ask(target, ways);
        (became, agent.stop("memory"))
    }

    #[test]
    fn the_target_gets_no_memory_and_its_neighbour_does() {
        require!("mem.mmap");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut agent = Agent::start(&[]);
        let ways = [
            "mmap", "half", "shared", "mremap", "brk", "reserve", "populate", "fork", "open",
        ];

        // All three calls. What the program asks for while it starts is less.
        agent.apply(&experiment(&target, "minSize: 4MiB"));
        assert_eq!(ask(&neighbour, &ways), [0; 9], "the neighbour");
        let became = ask(&target, &ways);
        let account = agent.stop("memory");
        assert_eq!(became[..5], [NO_MEMORY; 5], "{account}");
        assert_eq!(became[5..], [0; 4], "{account}");
        assert_eq!(found(&account, "matched"), Some(5), "{account}");
        assert_eq!(found(&account, "injected"), Some(5), "{account}");

        // One of them, and what malloc makes of it: without brk it takes a mapping.
        let (became, account) = under(
            &agent,
            &target,
            "ops: [brk], minSize: 4MiB",
            &["malloc", "mmap", "mremap", "brk"],
        );
        assert_eq!(became, [0, 0, 0, NO_MEMORY], "{account}");
        assert_eq!(found(&account, "injected"), Some(2), "{account}");
        let (became, _) = under(&agent, &target, "minSize: 4MiB", &["malloc"]);
        assert_eq!(became, [NO_MEMORY]);

        // The third, and only what is large enough.
        let (became, account) = under(
            &agent,
            &target,
            "minSize: 12MiB, when: \"3\"",
            &["mmap", "half", "brk", "half", "mmap", "mmap"],
        );
        assert_eq!(became, [0, 0, 0, 0, NO_MEMORY, 0], "{account}");
        assert_eq!(found(&account, "matched"), Some(4), "{account}");

        assert_eq!(ask(&target, &ways), [0; 9], "after the end");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    /// What a call fills in afterwards can't make it fail: 256 pages of a tmpfs are 256 questions.
    #[test]
    fn a_call_is_one_event() {
        require!("mem.mmap");
        let target = Cgroup::new("target");
        let agent = Agent::start(&[]);
        let matched = |ways: &[&str]| {
            let (became, account) = under(&agent, &target, "ops: [mmap], shadow: true", ways);
            assert!(became.iter().all(|errno| *errno == 0), "{account}");
            found(&account, "matched").unwrap()
        };
        let start = matched(&[]);
        assert_eq!(matched(&["populate"]), start);
        assert_eq!(matched(&["mmap", "shared", "mmap"]), start + 3);
    }

    #[test]
    fn a_command_that_gets_no_memory_says_so() {
        require!("mem.mmap");
        let (said, account) = run_script(
            &["mem.mmap=ENOMEM,minSize=4MiB"],
            "exec dd if=/dev/zero of=/dev/null bs=16M count=1",
        );
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.err.contains("memory exhausted"), "{said:?}");
        assert!(counter(&account, 0, "injected") >= 1, "{account}");
    }
}
