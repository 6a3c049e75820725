//! `net.connect` and `net.reset` on this host, of the sockets of a command of `kchaos run` alone.
//!
//! Skipped where there are no privileges, no BPF objects or no cgroup v2; a failure everywhere else.

#[cfg(test)]
mod tests {
    use std::{
        fmt::Write as _,
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        path::Path,
        process::Command,
        thread,
    };

    use chaos_userspace::target::CgroupTree;
    use serde_json::Value;

    /// `false` where this machine can't; a failure where it must.
    fn can() -> bool {
        let object = Path::new(env!("KCHAOS_OBJECTS_FOLDER")).join("net_connect");
        // SAFETY: takes nothing.
        let root = unsafe { libc::geteuid() } == 0;
        let tree = CgroupTree::find().is_ok();
        if root && object.exists() && tree {
            return true;
        }
        let reason = format!(
            "needs root ({root}), {} and a cgroup v2 tree ({tree})",
            object.display()
        );
        assert!(
            std::env::var_os("CI").is_none() || !root || !tree,
            "{reason}"
        );
        println!("skipped: {reason}");
        false
    }

    #[derive(Debug)]
    struct Ran {
        out: String,
        account: Value,
    }

    impl Ran {
        /// Considered, matched, injected.
        fn counted(&self, fault: usize) -> [u64; 3] {
            ["considered", "matched", "injected"].map(|name| {
                let counters = &self.account["faults"][fault]["counters"];
                counters[name].as_u64().unwrap()
            })
        }
    }

    /// Runs a bash script as the command, whose errors go where its output goes.
    fn run(faults: &[&str], script: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kchaos"));
        command.args(["run", "--json", "--allow-no-hit", "--seed", "5"]);
        for fault in faults {
            command.args(["--fault", fault]);
        }
        let script = format!("exec 2>&1; {script}");
        let output = command
            .args(["--", "bash", "-c", &script])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let account = said
            .lines()
            .find_map(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("no account in {said}"));
        Ran {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            account,
        }
    }

    /// Nobody listens there.
    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn connects_fail_with_the_errno_by_peer_and_port() {
        if !can() {
            return;
        }
        let (hit, free) = (free_port(), free_port());
        let mut script = String::new();
        for host in ["127.0.0.1", "127.0.0.2"] {
            for port in [hit, free] {
                for protocol in ["tcp", "udp"] {
                    writeln!(script, "exec 3<>/dev/{protocol}/{host}/{port}").unwrap();
                }
            }
        }
        let fault = format!("net.connect=EHOSTUNREACH,peer=127.0.0.1,peerPort={hit}");
        // A failed redirection of exec would end the shell that is not interactive.
        let script = script.replace("exec 3", "(exec 3").replace('\n', ")\n");
        let ran = run(&[&fault], &script);
        assert_eq!(
            ran.out.matches("connect: No route to host").count(),
            2,
            "{ran:?}"
        );
        assert_eq!(
            ran.out.matches("connect: Connection refused").count(),
            3,
            "{ran:?}"
        );
        assert_eq!(ran.counted(0), [8, 2, 2], "{ran:?}");
        // Outside of the command nothing is changed.
        let refused = TcpStream::connect(("127.0.0.1", hit)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
    }

    #[test]
    fn the_same_seed_hits_the_same_connects() {
        if !can() {
            return;
        }
        let port = free_port();
        let script = format!(
            "for n in {{1..50}}; do
                case $( (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>&1) in
                    *timed*) echo -n x;; *) echo -n .;;
                esac
            done"
        );
        let fault = "net.connect:connect=ETIMEDOUT@50%";
        let (first, again) = (run(&[fault], &script), run(&[fault], &script));
        assert_eq!(first.out, again.out);
        let hit = first.out.matches('x').count() as u64;
        assert_eq!(first.counted(0), [50, 50, hit], "{first:?}");
        assert!((10..=40).contains(&hit), "{first:?}");
        let narrowed = run(&["net.connect=ETIMEDOUT,comm=sh"], &script);
        assert_eq!(narrowed.counted(0), [50, 0, 0], "{narrowed:?}");
    }

    #[test]
    fn the_connection_of_the_command_is_ended_and_no_other() {
        if !can() {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut beside = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let server = thread::spawn(move || {
            let (mut first, _) = listener.accept().unwrap();
            let (mut second, _) = listener.accept().unwrap();
            let reset = second.read(&mut [0; 8]).unwrap_err();
            first.write_all(b"still here").unwrap();
            reset.raw_os_error()
        });
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -r line <&3; echo $?");
        let fault = format!("net.reset=100%,peerPort={port},pulse=50ms/500ms,after=500ms");
        let ran = run(&[&fault], &script);
        assert_eq!(server.join().unwrap(), Some(libc::ECONNRESET));
        assert!(ran.out.contains("connection abort"), "{ran:?}");
        assert_eq!(ran.counted(0), [1, 1, 1], "{ran:?}");
        let mut said = String::new();
        beside.read_to_string(&mut said).unwrap();
        assert_eq!(said, "still here");
    }
}
