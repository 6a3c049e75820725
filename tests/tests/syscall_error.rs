//! `syscall.error` on a real kernel: each call by each mechanism, and nothing else.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead as _, BufReader},
        process::{Child, Stdio},
        time::Duration,
    };

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        calls::{CALLS, FIRST_UNASKED},
        cgroup::Cgroup,
        counter, eventually, kchaos, lab, long,
        needs::{can_by, has_its_turn, says_covered, skip},
        require, run_script, signal,
    };

    /// Their entries are aliases of functions that stock kernels keep from `fmod_ret`.
    const WITHOUT_ARGUMENTS: [&str; 9] = [
        "fork",
        "getegid",
        "geteuid",
        "getgid",
        "getpid",
        "getppid",
        "gettid",
        "getuid",
        "sched_yield",
    ];

    /// Those of strace's `%network` that the caller makes.
    const OF_NETWORK: &str = "\
        socket bind listen connect accept accept4 sendto sendmsg recvfrom recvmsg \
        shutdown getsockname getpeername getsockopt setsockopt sendfile socketpair";

    /// One by each way in which they are seen; the short form has these and every fifth of the others.
    const ALWAYS: [&str; 8] = [
        "openat", "read", "write", "connect", "fsync", "mmap", "clone3", "futex",
    ];

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A process in a cgroup that makes all calls when it is told to.
    struct Caller {
        process: Child,
        folder: tempfile::TempDir,
    }

    impl Caller {
        fn start(cgroup: &Cgroup) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let results = folder.path().join("results");
            fs::write(
                &results,
                vec![0; kchaos_tests::calls::ROUNDS * CALLS.len() * 2],
            )
            .unwrap();
            let work = folder.path().join("work");
            fs::create_dir(&work).unwrap();
            let mut process = cgroup
                .command(env!("CARGO_BIN_EXE_caller"))
                .args([&work, &results])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let out = process.stdout.take().unwrap();
            BufReader::new(out).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self { process, folder }
        }

        /// Tells it to make all calls, and returns the errno of each.
        fn round(&mut self, round: usize) -> Vec<u16> {
            signal(self.process.id(), libc::SIGUSR1);
            let mut errnos = Vec::new();
            eventually("all calls are made", PATIENCE, || {
                assert_eq!(self.process.try_wait().unwrap(), None, "the caller ended");
                let bytes = fs::read(self.folder.path().join("results")).unwrap();
                let (words, _) = bytes.as_chunks::<2>();
                errnos = words[round * CALLS.len()..][..CALLS.len()]
                    .iter()
                    .map(|word| u16::from_ne_bytes(*word))
                    .collect();
                errnos.iter().all(|errno| *errno != 0)
            });
            errnos.iter().map(|errno| errno - 1).collect()
        }
    }

    impl Drop for Caller {
        fn drop(&mut self) {
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }

    fn experiment(target: &Cgroup, ops: &[&str], mechanism: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: calls}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - id: calls
    syscallError: {{ops: [{}], errno: EBADE, mechanism: {mechanism}}}
",
            target.path(),
            ops.join(", ")
        )
    }

    /// Every second call is hit, then the others; the ones that are not asked for never are.
    fn each_call_alone(mechanism: &str) {
        if !can_by("syscall.error", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        // Verifiers of Linux 7 take their time for these programs, and the emulator for them.
        let on_hooks = matches!(mechanism, "lsm" | "fmod-ret");
        if on_hooks && lab().starts_with("debian-7") && !long() {
            return skip("here only with --long");
        }
        let asked = CALLS.iter().position(|(name, _)| *name == FIRST_UNASKED);
        let covered = if on_hooks {
            asked.unwrap()
        } else {
            CALLS.len()
        };
        let no_alias = mechanism == "fmod-ret-syscall" && lab().starts_with("debian-7");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let (mut hit, mut spared) = (Caller::start(&target), Caller::start(&neighbour));
        let plain = hit.round(0);
        assert_eq!(spared.round(0), plain, "without a fault");
        let mut agent = Agent::start(&[]);
        for parity in [0, 1] {
            let is_asked = |index: usize| {
                let named = !(no_alias && WITHOUT_ARGUMENTS.contains(&CALLS[index].0));
                let in_form = long() || index.is_multiple_of(5) || ALWAYS.contains(&CALLS[index].0);
                index < covered && index % 2 == parity && named && in_form
            };
            let ops: Vec<&str> = (0..CALLS.len())
                .filter(|index| is_asked(*index))
                .map(|index| CALLS[index].0)
                .collect();
            agent.apply(&experiment(&target, &ops, mechanism));
            let errnos = hit.round(1 + parity);
            for (index, (name, _)) in CALLS.iter().enumerate() {
                let wanted = if is_asked(index) { 52 } else { plain[index] };
                assert_eq!(errnos[index], wanted, "{name} by {mechanism}");
            }
            assert_eq!(
                spared.round(1 + parity),
                plain,
                "the neighbour of {mechanism}"
            );
            let said = agent.ask(&["stop", "calls", "--json"]);
            assert_eq!(said.status, 0, "{said:?}");
            let count = format!("\"injected\":{},", ops.len());
            assert!(
                said.out.replace(' ', "").contains(&count),
                "{count} {said:?}"
            );
        }
        if long() {
            for (name, _) in CALLS[..covered]
                .iter()
                .filter(|(name, _)| !(no_alias && WITHOUT_ARGUMENTS.contains(name)))
            {
                says_covered(mechanism, name);
            }
        }
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn each_call_alone_by_fmod_ret_syscall() {
        each_call_alone("fmod-ret-syscall");
    }

    #[test]
    fn each_call_alone_by_kprobe_override() {
        each_call_alone("kprobe-override");
    }

    #[test]
    fn each_call_alone_by_lsm() {
        each_call_alone("lsm");
    }

    #[test]
    fn each_call_alone_by_fmod_ret() {
        each_call_alone("fmod-ret");
    }

    /// Of a class every call is hit that the mechanism can hit, nothing else is, and what it leaves
    /// out is named.
    fn a_class(mechanism: &str) {
        if !can_by("syscall.error", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        if !has_its_turn(mechanism) {
            return skip("here only with --long");
        }
        let asked = CALLS.iter().position(|(name, _)| *name == FIRST_UNASKED);
        let (covered, left_out) = match mechanism {
            "lsm" | "fmod-ret" => (asked.unwrap(), Some("socketpair")),
            _ => (CALLS.len(), None),
        };
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let (mut hit, mut spared) = (Caller::start(&target), Caller::start(&neighbour));
        let plain = hit.round(0);
        assert_eq!(spared.round(0), plain, "without a fault");
        let agent = Agent::start(&[]);
        agent.apply(&experiment(&target, &["\"%network\""], mechanism));
        let (errnos, others) = (hit.round(1), spared.round(1));
        let mut injected = 0;
        for (index, (name, _)) in CALLS.iter().enumerate() {
            let is_named = OF_NETWORK.split_whitespace().any(|call| call == *name);
            let wanted = if is_named && index < covered {
                injected += 1;
                52
            } else {
                plain[index]
            };
            assert_eq!(errnos[index], wanted, "{name} by {mechanism}");
        }
        assert!(injected > 10, "{injected} of the calls are in the class");
        assert_eq!(others, plain, "the neighbour of {mechanism}");
        let said = agent.ask(&["stop", "calls", "--json"]);
        let account: serde_json::Value =
            serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
        let node = &account["nodes"][0];
        assert_eq!(counter(node, 0, "injected"), injected, "{account}");
        let gaps = node["faults"][0]["notCovered"].to_string();
        if let Some(call) = left_out {
            let here = format!("by {mechanism} here: ");
            assert!(gaps.contains(&here) && gaps.contains(call), "{gaps}");
        }
    }

    #[test]
    fn a_class_by_fmod_ret_syscall() {
        a_class("fmod-ret-syscall");
    }

    #[test]
    fn a_class_by_kprobe_override() {
        a_class("kprobe-override");
    }

    #[test]
    fn a_class_by_lsm() {
        a_class("lsm");
    }

    #[test]
    fn a_class_by_fmod_ret() {
        a_class("fmod-ret");
    }

    #[test]
    fn what_a_mechanism_cannot_see_is_refused_by_name() {
        // A target that is no command.
        require!("syscall.error", "pressure.cpu");
        let target = Cgroup::new("target");
        for (mechanism, call, reason) in [
            ("lsm", "fsync", "asks no security module about fsync"),
            ("fmod-ret", "futex", "asks no security module about futex"),
            ("seccomp-notify", "fsync", "only for the command"),
        ] {
            if !can_by("syscall.error", mechanism) {
                continue;
            }
            let fault = format!("syscall.error:{call}=EIO,mechanism={mechanism}");
            let target = target.target();
            let arguments = [
                "inject",
                "--target",
                &target,
                "--duration",
                "1s",
                "--fault",
                &fault,
            ];
            let said = kchaos(&arguments);
            assert_eq!(said.status, 3, "{said:?}");
            assert!(said.err.contains(reason), "{said:?}");
        }
    }

    #[test]
    fn a_refusal_names_what_would_work_for_the_command() {
        // Without a cgroup tree the node has no say at all.
        require!("syscall.error", "pressure.cpu");
        let missing = ["kprobe-override", "fmod-ret-syscall", "lsm"];
        let mut missing = missing
            .into_iter()
            .filter(|it| !can_by("syscall.error", it));
        let Some(mechanism) = missing.next() else {
            return skip("everything works here");
        };
        let fault = format!("syscall.error:openat=EIO,mechanism={mechanism}");
        let said = kchaos(&["run", "--fault", &fault, "--", "true"]);
        assert_eq!(said.status, 125, "{said:?}");
        assert!(said.err.contains("would work here: mechanism="), "{said:?}");
        assert!(said.err.contains("seccomp-notify"), "{said:?}");
    }

    #[test]
    fn the_command_s_own_calls_are_counted_from_its_first() {
        require!("syscall.error");
        // The exec that starts it and what kchaos does before are no calls of the command.
        let (said, account) = run_script(
            &["syscall.error:mkdir=ENOSPC,when=2"],
            "mkdir /tmp/a; mkdir /tmp/b; mkdir /tmp/c; rmdir /tmp/a /tmp/c",
        );
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(counter(&account, 0, "matched"), 3);
        assert_eq!(counter(&account, 0, "injected"), 1);
        assert!(said.err.contains("/tmp/b"), "{said:?}");
    }
}
