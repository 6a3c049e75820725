//! `syscall.delay` on a real kernel: who waits, and for how long. Who waits for longer than a program may
//! keep a processor busy is in `pause.rs`.
//!
//! What becomes of those who wait when somebody dies is tested on the host, where it works as well:
//! `chaos-userspace/tests/seccomp_run`.

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kchaos_tests::{
        Said,
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        counter,
        needs::{can_by, skip},
        require, run_script,
    };

    #[test]
    fn calls_wait_and_are_done_then() {
        require!("syscall.delay");
        let before = Loaded::now();
        let start = Instant::now();
        let (said, account) = run_script(
            &["syscall.delay:mkdir=2s,when=2"],
            "a=$(mktemp -d); mkdir $a/1; mkdir $a/2; mkdir $a/3; ls $a; rm -r $a",
        );
        assert_eq!(
            (said.status, said.out.as_str()),
            (0, "1\n2\n3\n"),
            "{said:?}"
        );
        assert!(start.elapsed() >= Duration::from_secs(2));
        assert_eq!(account["faults"][0]["mechanism"], "seccomp-notify");
        // mktemp makes the first one.
        assert_eq!(counter(&account, 0, "matched"), 4);
        assert_eq!(counter(&account, 0, "injected"), 1);
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn children_wait_at_the_same_time_and_a_neighbour_does_not() {
        require!("syscall.delay");
        let neighbour = std::thread::spawn(|| {
            let folder = tempfile::tempdir().unwrap();
            let start = Instant::now();
            for name in 0..50 {
                std::fs::create_dir(folder.path().join(name.to_string())).unwrap();
            }
            start.elapsed()
        });
        let (said, account) = run_script(
            &["syscall.delay:rmdir=10s", "syscall.error:mkdirat=EIO"],
            "start=$SECONDS; for i in 1 2 3 4 5 6; do rmdir /no/such & done; wait; \
             echo $((SECONDS - start))",
        );
        assert_eq!(counter(&account, 0, "injected"), 6, "{said:?}");
        let all: u64 = said.out.trim().parse().unwrap();
        assert!((9..20).contains(&all), "{all}");
        assert!(neighbour.join().unwrap() < Duration::from_secs(9));
    }

    /// Makes forty folders and tells how many milliseconds that took.
    fn forty_folders(cgroup: &Cgroup) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let script = "import os, sys, time
start = time.monotonic()
for name in range(40): os.mkdir(f'{sys.argv[1]}/{name}')
print(int((time.monotonic() - start) * 1000))";
        let mut command = cgroup.command("/usr/bin/python3");
        let said: Said = command
            .args(["-c", script])
            .arg(folder.path())
            .output()
            .unwrap()
            .into();
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 40);
        said.out.trim().parse().unwrap()
    }

    /// Forty calls of 5 ms each take 200 ms at least, and the same calls of a neighbour do not.
    fn what_runs_already_waits(mechanism: &str) {
        if !can_by("syscall.delay", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
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
    syscallDelay: {{ops: [mkdir], delay: 3ms, mechanism: {mechanism}}}
  - id: second
    syscallDelay: {{ops: [mkdir], delay: 2ms, mechanism: {mechanism}}}
  - id: error
    syscallError: {{ops: [mkdir], errno: EDQUOT, when: 41, mechanism: {mechanism}}}
",
            target.path()
        ));
        let used = target.cpu_time();
        let slow = forty_folders(&target);
        let used = target.cpu_time().checked_sub(used).unwrap();
        let fast = forty_folders(&neighbour);
        assert!(
            slow >= 200,
            "{slow} ms for forty calls that wait for 5 ms each"
        );
        assert!(
            fast < slow,
            "{fast} ms in the neighbour, {slow} ms in the target"
        );
        assert!(
            used >= Duration::from_millis(200),
            "billed to the target: {used:?}"
        );
        // What comes after the delays has its turn as well.
        let said: Said = target
            .script("mkdir /tmp/one-more")
            .output()
            .unwrap()
            .into();
        assert!(said.err.contains("Disk quota exceeded"), "{said:?}");
        let said = agent.ask(&["stop", "slow", "--json"]);
        let account: serde_json::Value =
            serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
        for (fault, injected) in [(0, 41), (1, 41), (2, 1)] {
            assert_eq!(
                counter(&account["nodes"][0], fault, "matched"),
                41,
                "{account}"
            );
            assert_eq!(
                counter(&account["nodes"][0], fault, "injected"),
                injected,
                "{account}"
            );
        }
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn what_runs_already_waits_by_fmod_ret_syscall() {
        what_runs_already_waits("fmod-ret-syscall");
    }

    #[test]
    fn what_runs_already_waits_by_kprobe_override() {
        what_runs_already_waits("kprobe-override");
    }

    #[test]
    fn what_runs_already_waits_by_lsm() {
        what_runs_already_waits("lsm");
    }

    #[test]
    fn what_runs_already_waits_by_fmod_ret() {
        what_runs_already_waits("fmod-ret");
    }
}
