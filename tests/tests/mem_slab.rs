//! `mem.slab` on a real kernel, by each mechanism.

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        kchaos,
        memory::{asked, became, object_bytes},
        needs::{can, can_by, skip},
        require,
    };
    use serde_json::Value;

    const KIND: &str = "mem.slab";
    const SOCKETS: &str = "sock_inode_cache";

    fn experiment(target: &Cgroup, blocks: &[String]) -> String {
        let faults: Vec<String> = blocks
            .iter()
            .enumerate()
            .map(|(index, block)| {
                format!("  - {{id: f{index}, memSlab: {{errno: ENOMEM, {block}}}}}\n")
            })
            .collect();
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: memory}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
{}",
            target.path(),
            faults.concat()
        )
    }

    fn ask(cgroup: &Cgroup, ways: &[&str]) -> Vec<i32> {
        asked(&mut cgroup.command(env!("CARGO_BIN_EXE_mapper")), ways)
    }

    /// A counter of each fault.
    fn each(report: &Value, name: &str) -> Vec<u64> {
        let faults = faults(report).unwrap_or_else(|| panic!("no faults in {report}"));
        let counter = |fault: &Value| kchaos_tests::found(fault, name);
        faults.iter().map(|fault| counter(fault).unwrap()).collect()
    }

    fn faults(report: &Value) -> Option<&Vec<Value>> {
        match report {
            Value::Object(fields) => match fields.get("faults") {
                Some(Value::Array(faults)) if !faults.is_empty() => Some(faults),
                _ => fields.values().find_map(faults),
            },
            Value::Array(items) => items.iter().find_map(faults),
            _ => None,
        }
    }

    /// Names, sizes and classes are what the kernel tells of them, and no other allocation is hit.
    fn sockets(mechanism: &str) {
        if !can_by(KIND, mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut agent = Agent::start(&[]);
        let bytes = object_bytes(SOCKETS);
        let by = format!("mechanism: {mechanism}");
        let counted = |filter: &str| format!("{filter}, shadow: true, {by}");
        let blocks = [
            counted("cache: filp"),
            counted(&format!("cache: {SOCKETS}, minSize: {bytes}B")),
            counted(&format!("cache: {SOCKETS}, minSize: {}B", bytes + 1)),
            counted(&format!("cache: {SOCKETS}, gfp: [nofs, atomic]")),
            counted("cache: sock_inode_cach"),
            format!("cache: {SOCKETS}, when: \"2+\", {by}"),
        ];
        agent.apply(&experiment(&target, &blocks));
        let ways = ["socket", "open", "socket", "open", "socket", "mmap"];
        assert_eq!(ask(&neighbour, &ways), [0; 6], "the neighbour");
        let full = libc::ENFILE;
        assert_eq!(ask(&target, &ways), [0, 0, full, 0, full, 0]);
        let account = agent.stop("memory");
        let matched = each(&account, "matched");
        assert_eq!(matched[1..], [3, 0, 0, 0, 3], "{account}");
        assert_eq!(each(&account, "injected"), [0, 0, 0, 0, 0, 2], "{account}");
        assert_eq!(ask(&target, &ways), [0; 6], "after the end");

        // A socket and two opens were three files, and so are a listener and the two ends of a
        // connection. That it was asked for came in an interrupt, which is nobody's; signals are sent
        // by the target, but must not sleep.
        let asked_for = "request_sock_TCP";
        assert_ne!(object_bytes(asked_for), 0, "there is such a cache");
        let blocks = [
            counted("cache: filp"),
            counted("cache: sigqueue, gfp: [atomic]"),
            counted("cache: sigqueue, gfp: [kernel, nofs]"),
            counted(&format!("cache: {asked_for}, gfp: [kernel, nofs, atomic]")),
        ];
        agent.apply(&experiment(&target, &blocks));
        assert_eq!(ask(&target, &["signal", "connect", "signal"]), [0; 3]);
        let account = agent.stop("memory");
        assert_eq!(
            each(&account, "matched"),
            [matched[0], 2, 0, 0],
            "{account}"
        );

        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn only_the_target_gets_no_sockets_by_fmod_ret() {
        sockets("fmod-ret");
    }

    #[test]
    fn only_the_target_gets_no_sockets_by_kprobe_override() {
        sockets("kprobe-override");
    }

    /// All classes, of slabs and of pages: calls fail, and neither the kernel nor the neighbour takes
    /// notice.
    #[test]
    fn the_kernel_bears_it() {
        require!("mem.slab", "mem.page");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut agent = Agent::start(&[]);
        let calls = [
            "fork", "open", "socket", "eventfd", "parts", "mmap", "populate", "brk",
        ];
        let mut ways = vec!["wait"];
        (0..200).for_each(|_| ways.extend(calls));
        // They are there before: under the fault hardly a program starts.
        let mut both = [&target, &neighbour].map(|cgroup| {
            let mut mapper = cgroup.command(env!("CARGO_BIN_EXE_mapper"));
            let mapper = mapper.args(&ways).stdin(Stdio::piped());
            mapper.stdout(Stdio::piped()).spawn().unwrap()
        });
        let slabs = "gfp: [kernel, nofs, atomic], probability: 1%".to_owned();
        let pages =
            "  - memPage: {errno: ENOMEM, gfp: [kernel, nofs, user, atomic], probability: 1%}\n";
        agent.apply(&(experiment(&target, &[slabs]) + pages));
        for mapper in &mut both {
            drop(mapper.stdin.take());
        }
        let [hit, spared] = both.map(|mapper| became(&mapper.wait_with_output().unwrap().into()));
        let account = agent.stop("memory");
        assert!(spared.iter().all(|errno| *errno == 0), "{spared:?}");
        assert!(hit.contains(&libc::ENOMEM), "{account}");
        let injected = each(&account, "injected");
        assert!(injected.iter().all(|count| *count > 0), "{account}");
        assert!(
            target
                .script("exec ls /")
                .output()
                .unwrap()
                .status
                .success()
        );
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    /// Whoever starts a command has no memory either to hear by that it could not be.
    #[test]
    fn a_command_without_the_memory_to_begin_is_not_started() {
        require!("mem.slab");
        let mut run = std::process::Command::new("kchaos");
        let fault = "mem.slab=ENOMEM";
        let done = run.args(["run", "--fault", fault, "--", "true"]).output();
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(126), "{said}");
        assert!(said.contains("true: Cannot allocate memory"), "{said}");
        assert!(!said.contains("fatal runtime error"), "{said}");
    }

    #[test]
    fn elsewhere_it_says_what_is_missing_and_what_would_do() {
        if can(KIND) {
            return skip("it works here");
        }
        require!("mem.mmap");
        let said = kchaos(&["run", "--fault", "mem.slab=ENOMEM", "--", "true"]);
        assert_eq!(said.status, 125, "{said:?}");
        assert!(said.err.contains("CONFIG_FAILSLAB"), "{said:?}");
        assert!(said.err.contains("mem.mmap"), "{said:?}");
    }
}
