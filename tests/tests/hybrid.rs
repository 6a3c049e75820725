//! A machine with both versions of cgroups, as systemd's hybrid mode makes it: the controllers are in
//! the first, and the second has none.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    use kchaos_tests::{counter, kchaos, needs, profile, run_script};

    const TREE: &str = "/sys/fs/cgroup/unified";

    /// The second version, mounted beside the first.
    struct Hybrid;

    impl Hybrid {
        fn new() -> Self {
            fs::create_dir_all(TREE).unwrap();
            let mounted = Command::new("mount")
                .args(["-t", "cgroup2", "none", TREE])
                .status();
            assert!(mounted.unwrap().success());
            Self
        }
    }

    impl Drop for Hybrid {
        fn drop(&mut self) {
            Command::new("umount").arg(TREE).status().ok();
            fs::remove_dir(TREE).ok();
        }
    }

    #[test]
    fn what_needs_no_controller_works_and_the_rest_says_why_not() {
        if !profile("cgroup1") {
            return needs::skip("only the second version of cgroups is mounted here");
        }
        let without = kchaos(&["run", "--fault", "file.error:open=EIO", "--", "true"]);
        assert_eq!(without.status, 125, "{without:?}");
        assert!(without.err.contains("no cgroup v2 tree"), "{without:?}");
        let tree = Hybrid::new();
        let fault = "file.error:open=EIO,path=/etc/hostname";
        let (said, account) = run_script(&[fault], "cat /etc/hostname");
        assert_eq!(said.status, 1, "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 1, "{account}");
        // The answer to what nobody listens for.
        let connect = "timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/1'; echo $?";
        let (said, account) = run_script(&["net.loss=100%,direction=ingress"], connect);
        assert_eq!(said.out, "124\n", "{said:?}");
        assert!(counter(&account, 0, "injected") > 0, "{account}");
        let inside = Path::new(TREE).join("hybrid");
        fs::create_dir(&inside).unwrap();
        let said = kchaos(&[
            "inject",
            "--target",
            "cgroup=/hybrid",
            "--fault",
            "pressure.cpu=50%",
            "--duration",
            "1s",
        ]);
        assert_eq!(said.status, 3, "{said:?}");
        assert!(said.err.contains("cgroup v1"), "{said:?}");
        let doctor = kchaos(&["doctor"]);
        println!("{}", doctor.out);
        assert!(doctor.out.contains("cgroup v1"), "{doctor:?}");
        assert_eq!(kchaos(&["heal", "--check"]).status, 0);
        fs::remove_dir(&inside).unwrap();
        drop(tree);
    }
}
