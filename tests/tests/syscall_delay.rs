//! `syscall.delay` on a real kernel: who waits, for how long, and where it is refused.
//!
//! What becomes of those who wait when somebody dies is tested on the host, where it works as well:
//! `chaos-userspace/tests/seccomp_run`.

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kchaos_tests::{bpf::Loaded, cgroup::Cgroup, counter, kchaos, require, run_script};

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
        let start = Instant::now();
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
            "for i in 1 2 3 4 5 6; do rmdir /no/such & done; wait",
        );
        assert_eq!(counter(&account, 0, "injected"), 6, "{said:?}");
        let all = start.elapsed().as_secs();
        assert!((10..20).contains(&all), "{all}");
        assert!(neighbour.join().unwrap() < Duration::from_secs(9));
    }

    #[test]
    fn what_runs_already_is_refused() {
        require!("syscall.delay", "net.loss");
        let cgroup = Cgroup::new("target");
        let target = cgroup.target();
        let said = kchaos(&[
            "inject",
            "--target",
            &target,
            "--duration",
            "1s",
            "--fault",
            "syscall.delay:fsync=1s",
        ]);
        assert_eq!(said.status, 3, "{said:?}");
        assert!(said.err.contains("only for the command"), "{said:?}");
    }
}
