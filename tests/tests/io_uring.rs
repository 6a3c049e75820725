//! What `io_uring` does for a target: `file.error` sees it, `syscall.error` does not.

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener, path::Path};

    use kchaos_tests::{
        Said,
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        counter, kchaos,
        mounts::Mounted,
        needs::{can_by, has_its_turn, skip},
    };
    use serde_json::Value;

    const RINGER: &str = env!("CARGO_BIN_EXE_ringer");
    /// What it reads and writes at once: more than the dynamic loader does.
    const BYTES: usize = 8192;

    /// A folder with what the ringer wants, and a port that can be connected to.
    struct Place {
        mounted: Mounted,
        port: u16,
    }

    impl Place {
        fn new() -> Self {
            let mounted = Mounted::tmpfs();
            fs::write(mounted.path().join("opened"), "").unwrap();
            fs::write(mounted.path().join("used"), [0; BYTES]).unwrap();
            for number in 1..=3 {
                let fifo = mounted.path().join(format!("fifo-{number}"));
                nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
            }
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            // Until the test ends.
            std::thread::spawn(move || listener.incoming().for_each(drop));
            Self { mounted, port }
        }

        fn folder(&self) -> &Path {
            self.mounted.path()
        }

        fn arguments(&self, ways: &[&str]) -> Vec<String> {
            let mut arguments = vec![self.folder().display().to_string(), self.port.to_string()];
            arguments.extend(ways.iter().map(|way| (*way).to_owned()));
            arguments
        }
    }

    /// What the operations of a way end with.
    fn lines(way: &str, errnos: [i32; 4]) -> String {
        let [open, read, write, connect] = errnos;
        format!(
            "{way} open {open}\n{way} read {read}\n{way} write {write}\n{way} connect {connect}\n"
        )
    }

    /// `kchaos run` of the ringer under faults.
    fn run(faults: &[String], arguments: &[String]) -> (Said, Value) {
        let mut words = vec!["run", "--json"];
        for fault in faults {
            words.extend(["--fault", fault]);
        }
        words.extend(["--", "timeout", "60", RINGER]);
        words.extend(arguments.iter().map(String::as_str));
        let said = kchaos(&words);
        let account = said
            .err
            .lines()
            .find_map(|line| serde_json::from_str(line).ok());
        let account = account.unwrap_or_else(|| panic!("no account in {said:?}"));
        (said, account)
    }

    fn by_security_module(mechanism: &str) {
        if !can_by("file.error", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let before = Loaded::now();
        let place = Place::new();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut agent = Agent::start(&[]);
        let folder = place.folder().display();
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: ring}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - fileError: {{ops: [open], errno: EACCES, path: {folder}/opened, mechanism: {mechanism}}}
  - fileError: {{ops: [read], errno: EIO, path: {folder}/used, mechanism: {mechanism}}}
  - fileError: {{ops: [write], errno: ENOSPC, path: {folder}/used, mechanism: {mechanism}}}
",
            target.path()
        ));
        let ring = |cgroup: &Cgroup| -> Said {
            let mut command = cgroup.command(RINGER);
            let ways = place.arguments(&["inline", "workers"]);
            command.args(ways).output().unwrap().into()
        };
        // The file is opened to be read and written by a call, which is no open of `opened`.
        let errnos = [libc::EACCES, libc::EIO, libc::ENOSPC, 0];
        let hit = ring(&target);
        let wanted = lines("inline", errnos) + &lines("workers", errnos);
        assert_eq!(hit.out, wanted, "{mechanism} {hit:?}");
        let done = lines("inline", [0; 4]) + &lines("workers", [0; 4]);
        let spared = ring(&neighbour);
        assert_eq!(spared.out, done, "{mechanism} {spared:?}");
        let account = agent.stop("ring");
        for fault in 0..3 {
            // One of each way.
            let injected = counter(&account["nodes"][0], fault, "injected");
            assert_eq!(injected, 2, "{mechanism} {account}");
        }
        let after = ring(&target);
        assert_eq!(after.out, done, "{mechanism} {after:?}");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn file_errors_hit_rings_by_lsm() {
        by_security_module("lsm");
    }

    #[test]
    fn file_errors_hit_rings_by_fmod_ret() {
        by_security_module("fmod-ret");
    }

    /// The same operations fail as calls, and none of them by a ring.
    fn calls_alone(mechanism: &str) {
        if !can_by("syscall.error", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        if !has_its_turn(mechanism) {
            return skip("here only with --long");
        }
        let place = Place::new();
        let faults = [
            "openat=EACCES,flags=O_NOCTTY".to_owned(),
            format!("read=EIO,minSize={BYTES},comm=ringer"),
            format!("write=ENOSPC,minSize={BYTES},comm=ringer"),
            format!("connect=ETIMEDOUT,peerPort={}", place.port),
        ]
        .map(|rest| format!("syscall.error:{rest},mechanism={mechanism}"));
        let ways = place.arguments(&["calls", "inline", "workers"]);
        let (said, account) = run(&faults, &ways);
        let errnos = [libc::EACCES, libc::EIO, libc::ENOSPC, libc::ETIMEDOUT];
        let wanted = lines("calls", errnos) + &lines("inline", [0; 4]) + &lines("workers", [0; 4]);
        assert_eq!(said.out, wanted, "{mechanism} {said:?}");
        for fault in 0..faults.len() {
            let matched = counter(&account, fault, "matched");
            assert_eq!(matched, 1, "{mechanism} {account}");
        }
    }

    #[test]
    fn rings_make_no_calls_by_fmod_ret_syscall() {
        calls_alone("fmod-ret-syscall");
    }

    #[test]
    fn rings_make_no_calls_by_kprobe_override() {
        calls_alone("kprobe-override");
    }

    #[test]
    fn rings_make_no_calls_by_lsm() {
        calls_alone("lsm");
    }

    #[test]
    fn rings_make_no_calls_by_fmod_ret() {
        calls_alone("fmod-ret");
    }

    #[test]
    fn rings_make_no_calls_by_seccomp_notify() {
        calls_alone("seccomp-notify");
    }

    /// Whatever call its thread was in when it was started, a worker is in none.
    #[test]
    fn a_worker_has_not_the_call_that_it_was_started_in() {
        let Some(mechanism) = ["lsm", "fmod-ret"]
            .into_iter()
            .find(|mechanism| can_by("syscall.error", mechanism))
        else {
            return skip("nothing here sees what a worker opens");
        };
        let place = Place::new();
        let opened = place.folder().join("opened");
        let fault = |kind: &str| format!("{kind}=EACCES,path={}", opened.display());
        let fault = |kind: &str| format!("{},mechanism={mechanism}", fault(kind));
        let folder = [place.folder().display().to_string()];
        let (said, account) = run(&[fault("syscall.error:openat")], &folder);
        let said = told(&said);
        assert!(said[0].contains(&libc::SYS_openat.to_string()), "{said:?}");
        assert_eq!(said[1..], ["worker 0", "call 13"], "{account}");
        assert_eq!(counter(&account, 0, "matched"), 1, "{account}");

        // It is an open all the same.
        let (said, account) = run(&[fault("file.error:open")], &folder);
        assert_eq!(told(&said)[1..], ["worker 13", "call 13"], "{account}");
        assert_eq!(counter(&account, 0, "matched"), 2, "{account}");
    }

    fn told(said: &Said) -> Vec<&str> {
        let lines: Vec<&str> = said.out.lines().collect();
        assert_eq!(lines.len(), 3, "{said:?}");
        lines
    }
}
