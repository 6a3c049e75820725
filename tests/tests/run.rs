//! `kchaos run`, whatever happens to it.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Read as _,
        os::unix::process::CommandExt as _,
        path::Path,
        process::{Command, Stdio},
        time::Duration,
    };

    use kchaos_tests::{
        bpf::Loaded, cgroup::of_kchaos, eventually, kchaos, long, needs::can, registered, require,
        run_script,
    };

    const QUIET: Duration = Duration::from_secs(20);

    /// A fault that works on every kernel that has any, and costs little to arm.
    const FAULT: &str = "net.loss=100%,direction=ingress";

    fn run(options: &[&str], command: &[&str]) -> kchaos_tests::Said {
        let mut arguments = vec!["run", "--fault", FAULT];
        arguments.extend(options);
        arguments.push("--");
        arguments.extend(command);
        kchaos(&arguments)
    }

    #[test]
    fn exit_statuses_are_as_the_help_says() {
        if !can("net.loss") {
            assert_eq!(run(&[], &["true"]).status, 125);
            return;
        }
        let status_file = tempfile::NamedTempFile::new().unwrap();
        let file = status_file.path().to_str().unwrap();
        for (options, command, status) in [
            (&["--allow-no-hit"][..], &["sh", "-c", "exit 7"][..], 7),
            (&["--allow-no-hit"], &["sh", "-c", "kill -TERM $$"], 143),
            (&["--status-file", file], &["sh", "-c", "exit 7"], 123),
            (&["--timeout", "1s"], &["sleep", "100"], 124),
            (&[], &["/etc"], 126),
            (&[], &["/no/such/program"], 127),
        ] {
            let said = run(options, command);
            assert_eq!(said.status, status, "{options:?} {command:?}: {said:?}");
        }
        assert_eq!(fs::read_to_string(status_file.path()).unwrap(), "7\n");
        for bad in [
            &["run", "--fault", "file.error:open=EFOO", "--", "true"][..],
            &["run", "--fault", FAULT],
            &["run", "--no-such-option"],
            &["run", "--", "true"],
        ] {
            assert_eq!(kchaos(bad).status, 125, "{bad:?}");
        }
        assert_eq!(of_kchaos(), Vec::<std::path::PathBuf>::new());
    }

    #[test]
    fn without_privileges_the_missing_capabilities_are_named() {
        let said = kchaos_tests::Said::from(
            Command::new("setpriv")
                .args([
                    "--reuid",
                    "65534",
                    "--regid",
                    "65534",
                    "--clear-groups",
                    "--",
                ])
                .args([
                    "kchaos",
                    "run",
                    "--fault",
                    "file.error:open=EIO",
                    "--",
                    "true",
                ])
                .output()
                .unwrap(),
        );
        assert_eq!(said.status, 125, "{said:?}");
        assert!(
            said.err.contains("CAP_BPF") && said.err.contains("CAP_PERFMON"),
            "{said:?}"
        );
    }

    #[test]
    fn the_first_own_event_is_the_dynamic_loaders() {
        require!("file.error");
        // glibc's loader goes on without its cache, so the command still succeeds.
        let (said, account) = run_script(&["file.error:open=ENOENT,when=1"], "exit 0");
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(
            kchaos_tests::counter(&account, 0, "injected"),
            1,
            "{account}"
        );
        let hit = run_script(
            &["file.error:open=ENOENT,path=/etc/ld.so.cache,when=1"],
            "exit 0",
        );
        assert_eq!(kchaos_tests::counter(&hit.1, 0, "injected"), 1, "{hit:?}");
    }

    #[test]
    fn what_the_command_leaves_running_runs_on() {
        require!("net.loss");
        let pid_file = tempfile::NamedTempFile::new().unwrap();
        let script = format!(
            "mkdir /sys/fs/cgroup$(cut -d: -f3 </proc/self/cgroup)/made-by-command
             sleep 300 >/dev/null 2>&1 & echo $! >{}",
            pid_file.path().display()
        );
        let said = run(&["--allow-no-hit"], &["bash", "-c", &script]);
        assert_eq!(said.status, 0, "{said:?}");
        let pid = fs::read_to_string(pid_file.path()).unwrap();
        let pid: i32 = pid.trim().parse().unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "it was killed");
        assert_eq!(of_kchaos(), Vec::<std::path::PathBuf>::new());
        kill(pid, libc::SIGKILL);
    }

    fn kill(pid: i32, signal: i32) {
        // SAFETY: takes two integers.
        unsafe { libc::kill(pid, signal) };
    }

    fn nothing_is_left(before: &Loaded) {
        assert_eq!(before.left_since(), Loaded::default());
        eventually("no cgroup is left", QUIET, || of_kchaos().is_empty());
        eventually("no process is left", QUIET, || {
            processes("kchaos").is_empty()
        });
    }

    fn processes(name: &str) -> Vec<i32> {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| comm.trim() == name)
            })
            .collect()
    }

    #[test]
    fn ctrl_c_at_any_moment_leaves_nothing() {
        require!("net.loss");
        let before = Loaded::now();
        let rounds = if long() { 50 } else { 12 };
        for round in 0..rounds {
            // A group of its own, as a terminal's foreground job is.
            let child = Command::new("kchaos")
                .args([
                    "run",
                    "--allow-no-hit",
                    "--fault",
                    FAULT,
                    "--",
                    "sleep",
                    "300",
                ])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .unwrap();
            let mut child = child;
            // From before the signals are caught to long after the command has started.
            let wait = u64::try_from(round).unwrap() * 2000 / u64::try_from(rounds).unwrap();
            std::thread::sleep(Duration::from_millis(wait + 7));
            kill(-child.id().cast_signed(), libc::SIGINT);
            let mut ended = None;
            eventually("kchaos ends", QUIET, || {
                ended = child.try_wait().unwrap();
                // Nobody is at the terminal to press it again when sleep was not there yet.
                kill(-child.id().cast_signed(), libc::SIGINT);
                ended.is_some()
            });
            assert!(processes("sleep").is_empty(), "round {round}: {ended:?}");
        }
        nothing_is_left(&before);
    }

    #[test]
    fn sigkill_at_any_moment_leaves_nothing() {
        require!("net.loss");
        let before = Loaded::now();
        let rounds = if long() { 50 } else { 12 };
        for round in 0..rounds {
            let mut child = Command::new("kchaos")
                .args(["run", "--fault", FAULT, "--", "sleep", "303"])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // While it starts, tries its programs out, arms and waits for the command.
            let wait = u64::try_from(round).unwrap() * 1500 / u64::try_from(rounds).unwrap();
            std::thread::sleep(Duration::from_millis(wait + 7));
            child.kill().unwrap();
            child.wait().unwrap();
            // Each time: the next kchaos would take it away.
            eventually("no cgroup is left", QUIET, || of_kchaos().is_empty());
            eventually("no process is left", QUIET, || {
                processes("kchaos").is_empty() && processes("sleep").is_empty()
            });
            eventually("no file is left", QUIET, || registered("run").is_empty());
        }
        nothing_is_left(&before);
    }

    #[test]
    fn sigkill_of_kchaos_ends_faults_and_command_and_spares_what_detached() {
        require!("net.loss");
        let before = Loaded::now();
        let mut child = Command::new("kchaos")
            .args(["run", "--fault", FAULT, "--", "bash", "-c"])
            .arg("setsid sleep 301 & sleep 302 & echo ready; wait")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        eventually("both sleep", QUIET, || processes("sleep").len() == 2);
        child.kill().unwrap();
        child.wait().unwrap();
        nothing_is_left(&before);
        let left = processes("sleep");
        assert_eq!(
            left.len(),
            1,
            "what detached itself runs on, and nothing else"
        );
        let line = fs::read(format!("/proc/{}/cmdline", left[0])).unwrap();
        assert!(String::from_utf8_lossy(&line).contains("301"));
        eventually("no file is left", QUIET, || registered("run").is_empty());
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "{check:?}");
        kill(left[0], libc::SIGKILL);
    }

    #[test]
    fn a_hit_exec_is_accounted_for() {
        require!("file.error");
        let fault = "file.error:open=EIO";
        let said = kchaos(&["run", "--include-exec", "--fault", fault, "--", "cat"]);
        assert_eq!(said.status, 126, "{said:?}");
        assert!(said.err.contains("1 of 1 matching hit"), "{said:?}");
    }

    #[test]
    fn when_the_guard_is_killed_as_well_heal_cleans_up() {
        require!("net.loss");
        let before = Loaded::now();
        let mut child = Command::new("kchaos")
            .args([
                "run",
                "--fault",
                FAULT,
                "--",
                "bash",
                "-c",
                "echo ready; sleep 300",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        let own = child.id().cast_signed();
        for guard in processes("kchaos")
            .into_iter()
            .chain(processes("kchaos-guard"))
        {
            if guard != own {
                kill(guard, libc::SIGKILL);
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("programs are gone", QUIET, || {
            before.left_since() == Loaded::default()
        });
        assert_eq!(of_kchaos().len(), 1, "the cgroup is left");
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 1, "{check:?}");
        assert!(check.out.contains("kchaos-run-"), "{check:?}");
        let heal = kchaos(&["heal"]);
        assert_eq!(heal.status, 0, "{heal:?}");
        assert_eq!(kchaos(&["heal", "--check"]).status, 0);
        nothing_is_left(&before);
    }
}
