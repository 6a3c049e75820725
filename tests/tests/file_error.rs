//! `file.error` on a real kernel.

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs, path::Path, process::Stdio, time::Duration};

    use kchaos_tests::{
        bpf::Loaded, cgroup::Cgroup, counter, eventually, kchaos, mounts::Mounted, needs::can,
        require, run_script,
    };

    const HOSTNAME: &str = "file.error:open=EIO,path=/etc/hostname";

    #[test]
    fn the_command_is_hit_and_the_same_command_beside_it_is_not() {
        if !can("file.error") {
            let said = kchaos(&["run", "--fault", HOSTNAME, "--", "cat", "/etc/hostname"]);
            assert_eq!(said.status, 125, "{said:?}");
            assert!(
                said.err.contains("this node can't do file.error") || said.err.contains("cgroup")
            );
            return;
        }
        let before = Loaded::now();
        let beside = fs::read_to_string("/etc/hostname").unwrap();
        for mechanism in mechanisms() {
            let fault = format!("{HOSTNAME},mechanism={mechanism}");
            let script = "cat /etc/hostname; echo own=$?; cat /etc/passwd >/dev/null; echo other=$?; \
                          touch /tmp/in; until [ -e /tmp/out ]; do sleep 0.05; done; rm /tmp/in";
            fs::remove_file("/tmp/out").ok();
            let runner = std::thread::spawn(move || run_script(&[&fault], script));
            eventually("the command runs", Duration::from_mins(1), || {
                Path::new("/tmp/in").exists()
            });
            assert_eq!(fs::read_to_string("/etc/hostname").unwrap(), beside);
            fs::write("/tmp/out", "").unwrap();
            let (said, account) = runner.join().unwrap();
            assert!(said.out.contains("own=1"), "{said:?}");
            assert!(said.out.contains("other=0"), "{said:?}");
            assert!(said.err.contains("Input/output error"), "{said:?}");
            assert_eq!(counter(&account, 0, "injected"), 1, "{account}");
            assert_eq!(counter(&account, 0, "matched"), 1, "{account}");
            assert_eq!(counter(&account, 0, "error"), 0, "{account}");
            assert_eq!(account["faults"][0]["mechanism"], mechanism);
        }
        assert_eq!(before.left_since(), Loaded::default());
    }

    /// The mechanisms that must work where the test runs.
    fn mechanisms() -> Vec<&'static str> {
        if kchaos_tests::profile("nolsm") {
            vec!["fmod-ret"]
        } else {
            vec!["lsm", "fmod-ret"]
        }
    }

    #[test]
    fn one_operation_counts_once_on_every_file_system() {
        require!("file.error");
        let lower: Vec<String> = (0..10).map(|number| format!("old{number}")).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let file_systems = [Mounted::ext4(), Mounted::tmpfs(), Mounted::overlay(&lower)];
        for mechanism in mechanisms() {
            let mut faults = Vec::new();
            let mut script = String::new();
            for file_system in &file_systems {
                let folder = file_system.path().display();
                for name in &lower {
                    fs::write(file_system.path().join(name), "old\n").unwrap();
                }
                // 10 opens to read, 10 to write what is there, 10 that create; 10 of what is not
                // there fail before any hook is asked. Then one listing, and one for the glob.
                write!(
                    script,
                    "cd {folder}; for i in 0 1 2 3 4 5 6 7 8 9; do
                       read x <old$i; echo y >>old$i; echo z >new$i; read x <no$i; done 2>/dev/null
                     mknod fifo p; ls -d . >/dev/null; ls >/dev/null; rm -f new* fifo; cd /\n"
                )
                .unwrap();
                faults.push(format!(
                    "file.error:open=EIO,path={folder}/,shadow=true,mechanism={mechanism}"
                ));
            }
            let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
            let (_, account) = run_script(&faults, &script);
            for index in 0..file_systems.len() {
                assert_eq!(counter(&account, index, "matched"), 32, "{account}");
                assert_eq!(counter(&account, index, "wouldInject"), 32, "{account}");
                assert_eq!(counter(&account, index, "injected"), 0, "{account}");
                assert_eq!(counter(&account, index, "error"), 0, "{account}");
            }
        }
    }

    #[test]
    fn a_create_that_fails_leaves_no_file() {
        require!("file.error");
        let file_systems = [Mounted::ext4(), Mounted::tmpfs(), Mounted::overlay(&[])];
        let mut faults = Vec::new();
        let mut script = String::new();
        for file_system in &file_systems {
            let folder = file_system.path().display();
            faults.push(format!("file.error:open=ENOSPC,path={folder}/"));
            write!(
                script,
                "echo x >{folder}/new; echo create=$?; mknod {folder}/fifo p; echo fifo=$?
                 mkdir {folder}/dir; echo dir=$?; ln -s x {folder}/link; echo link=$?\n"
            )
            .unwrap();
        }
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let (said, account) = run_script(&faults, &script);
        for expected in ["create=1", "fifo=0", "dir=0", "link=0"] {
            assert_eq!(
                said.out.matches(expected).count(),
                3,
                "{expected}: {said:?}"
            );
        }
        assert_eq!(
            said.err.matches("No space left on device").count(),
            3,
            "{said:?}"
        );
        for (index, file_system) in file_systems.iter().enumerate() {
            assert!(!file_system.path().join("new").exists(), "{index}");
            assert_eq!(counter(&account, index, "injected"), 1, "{account}");
        }
    }

    #[test]
    fn when_times_and_duration_are_kept_by_each_of_many_rules() {
        require!("file.error");
        let cases = [
            ("when=3", "12456789"),
            ("when=3+", "12"),
            ("when=2..6+2", "135789"),
            ("times=2", "3456789"),
            ("when=4+,times=1", "12356789"),
        ];
        let folder = tempfile::tempdir().unwrap();
        let mut faults = Vec::new();
        let mut script = String::new();
        for (index, (keys, _)) in cases.iter().enumerate() {
            let file = folder.path().join(index.to_string());
            fs::write(&file, "x\n").unwrap();
            let file = file.display();
            faults.push(format!("file.error:open=EIO,path={file},{keys}"));
            writeln!(
                script,
                "for i in 1 2 3 4 5 6 7 8 9; do read x <{file} && echo -n $i; done; echo"
            )
            .unwrap();
        }
        faults.push(format!("{HOSTNAME},duration=8s"));
        script.push_str("read x </etc/hostname || echo early\nsleep 9\n");
        script.push_str("read x </etc/hostname && echo late\n");
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let (said, account) = run_script(&faults, &script);
        let passed: Vec<&str> = said.out.lines().collect();
        for (index, (keys, expected)) in cases.iter().enumerate() {
            assert_eq!(passed[index], *expected, "{keys}: {said:?}");
        }
        assert_eq!(passed[5..], ["early", "late"], "{said:?}");
        assert_eq!(counter(&account, 5, "injected"), 1, "{account}");
        assert!(counter(&account, 5, "expired") >= 1, "{account}");
    }

    #[test]
    fn chance_is_repeatable_and_near_its_share() {
        require!("file.error");
        let reads = "for ((i = 0; i < 500; i++)); do
                       read x </etc/hostname && echo -n 1 || echo -n 0; done";
        let fault = "file.error:open=EIO@20%,path=/etc/hostname,seed=7";
        let (first, account) = run_script(&[fault], reads);
        let (second, _) = run_script(&[fault], reads);
        assert_eq!(first.out, second.out);
        let injected = counter(&account, 0, "injected");
        assert_eq!(first.out.matches('0').count() as u64, injected);
        // Five standard deviations of a binomial of 500 and 0.2.
        assert!((55..=145).contains(&injected), "{account}");
    }

    #[test]
    fn the_exec_of_programs_is_exempt_unless_asked_for() {
        require!("file.error");
        for op in ["open", "read"] {
            let fault = format!("file.error:{op}=EACCES,path=/usr/bin/");
            let run = |more: &str| {
                kchaos(&["run", more, "--fault", &fault, "--", "/usr/bin/true"]).status
            };
            assert_eq!(run("--allow-no-hit"), 0, "{op}");
            assert_eq!(run("--include-exec"), 126, "{op}");
        }
    }

    #[test]
    fn paths_are_as_the_target_sees_them() {
        require!("file.error");
        let root = Mounted::tmpfs();
        root.bind("/usr", &["bin", "lib", "lib64"]);
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/secret"), "inside\n").unwrap();
        let root = root.path().display();
        let fault = "file.error:open=EIO,path=/etc/secret";
        let script = format!("chroot {root} cat /etc/secret; cat {root}/etc/secret");
        let (said, account) = run_script(&[fault], &script);
        assert_eq!(said.out, "inside\n", "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 1, "{account}");
        // Relative paths, symbolic links and names with dots are the same file.
        let script =
            "cd /etc; cat hostname; ln -s /etc/hostname /tmp/l; cat /tmp/l; cat ../etc/./hostname";
        let (said, account) = run_script(&[HOSTNAME], script);
        assert_eq!(said.out, "", "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 3, "{account}");
    }

    #[test]
    fn nested_targets_decide_once_each() {
        require!("file.error");
        let outer = Cgroup::new("outer");
        let middle = outer.child("middle");
        let inner = middle.child("inner");
        let mut worker = inner
            .script("while sleep 0.02; do read x </etc/hostname; echo; done 2>/dev/null")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let runs: Vec<_> = [&outer, &middle, &inner]
            .map(|cgroup| {
                let target = cgroup.target();
                std::thread::spawn(move || {
                    kchaos(&[
                        "inject",
                        "--json",
                        "--target",
                        &target,
                        "--duration",
                        "6s",
                        "--fault",
                        "file.error:open=EIO,path=/etc/hostname,shadow=true,times=5",
                    ])
                })
            })
            .into_iter()
            .collect();
        for run in runs {
            let said = run.join().unwrap();
            assert_eq!(said.status, 0, "{said:?}");
            let last: serde_json::Value =
                serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
            // Five, unless the machine is so busy that there were not as many.
            let matched = counter(&last, 0, "matched");
            let would_inject = counter(&last, 0, "wouldInject");
            assert!(matched > 0, "{last}");
            assert_eq!(would_inject, matched.min(5), "{last}");
            assert_eq!(
                matched,
                would_inject + counter(&last, 0, "overBudget"),
                "each event is one decision: {last}"
            );
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
    }

    #[test]
    fn a_pid_is_hit_without_its_children_and_its_cgroup() {
        require!("file.error");
        let script = "while sleep 0.05; do read x </etc/hostname && echo own-ok || echo own-hit;
                      cat /etc/hostname >/dev/null && echo child-ok || echo child-hit; done 2>/dev/null";
        let cgroup = Cgroup::new("pid");
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut target = cgroup
            .script(script)
            .stdout(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let neighbours = tempfile::NamedTempFile::new().unwrap();
        let mut neighbour = cgroup
            .script(script)
            .stdout(neighbours.reopen().unwrap())
            .spawn()
            .unwrap();
        let pid = format!("pid={}", target.id());
        let said = kchaos(&[
            "inject",
            "--target",
            &pid,
            "--duration",
            "3s",
            "--fault",
            HOSTNAME,
        ]);
        assert_eq!(said.status, 0, "{said:?}");
        target.kill().unwrap();
        target.wait().unwrap();
        neighbour.kill().unwrap();
        neighbour.wait().unwrap();
        let own = fs::read_to_string(log.path()).unwrap();
        assert!(own.contains("own-hit"), "{own}");
        assert!(
            own.contains("child-ok") && !own.contains("child-hit"),
            "{own}"
        );
        let beside = fs::read_to_string(neighbours.path()).unwrap();
        assert!(
            beside.contains("own-ok") && !beside.contains("hit\n"),
            "{beside}"
        );
    }
}
