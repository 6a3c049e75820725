//! Filters of `syscall.error` on a real kernel: what they let in, by each mechanism, is what its caller
//! sees.

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, path::Path};

    use kchaos_tests::{
        counter, kchaos,
        needs::{can_by, skip},
        require, run_script,
    };

    const KIND: &str = "syscall.error";

    /// Prints which step has failed. dd writes, and says by its status whether it could; bash opens,
    /// connects and writes by itself.
    const SCRIPT: &str = "
        in=$BASE/in out=$BASE/out
        step() { name=$1; shift; \"$@\" 2>/dev/null || echo $name; }
        put() { dd if=/dev/zero of=$1 bs=$2 count=1 status=none $3; }
        step large put $out/a 100
        step small put $out/b 10
        piped() { dd if=/dev/zero bs=100 count=1 status=none | cat >/dev/null; return ${PIPESTATUS[0]}; }
        step pipe piped
        step append put $out/c 10 oflag=append
        say() { echo x >$1; }
        step in say $in/d
        step out say $out/d
        relative() { (cd $in && say d); }
        step relative relative
        elsewhere() { (cd $out && say d); }
        step elsewhere elsewhere
        gone() { exec 3>$in/e; rm $in/e; echo x >&3; }
        step gone gone
        talk() { exec 4<>/dev/tcp/127.0.0.1/$1; }
        step refused talk 9
        step talks talk $PORT
        send() { echo x >&4; }
        step peer send
    ";

    fn faults(mechanism: &str, base: &Path, port: u16) -> [String; 5] {
        let base = base.display();
        [
            "write=ENOSPC,comm=dd,fd=regular,minSize=100".to_owned(),
            "openat=EROFS,comm=dd,flags=O_WRONLY,flags=O_APPEND".to_owned(),
            format!("write=EDQUOT,comm=bash,path={base}/in/"),
            "connect=ETIMEDOUT,comm=bash,peer=127.0.0.0/8,peerPort=9".to_owned(),
            format!("write=EPIPE,comm=bash,fd=socket,peer=::1,peer=127.0.0.1,peerPort={port}"),
        ]
        .map(|rest| format!("syscall.error:{rest},mechanism={mechanism}"))
    }

    fn what_is_meant_and_nothing_else(mechanism: &str) {
        if !can_by(KIND, mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let base = tempfile::tempdir().unwrap();
        for folder in ["in", "out"] {
            std::fs::create_dir(base.path().join(folder)).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("BASE={} PORT={port}; {SCRIPT}", base.path().display());
        let faults = faults(mechanism, base.path(), port);
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let (said, account) = run_script(&faults, &script);
        let failed: Vec<&str> = said.out.split_whitespace().collect();
        // Port 9 refuses by itself: that it was not asked is in the counters.
        let wanted = [
            "large", "append", "in", "relative", "gone", "refused", "peer",
        ];
        assert_eq!(failed, wanted, "{mechanism} {said:?}");
        for (fault, hits) in [1, 1, 3, 1, 1].into_iter().enumerate() {
            for name in ["matched", "injected"] {
                let found = counter(&account, fault, name);
                assert_eq!(found, hits, "{mechanism} {fault} {name} {account}");
            }
            let unknown = counter(&account, fault, "error");
            assert_eq!(unknown, 0, "{mechanism} {fault} {account}");
        }
    }

    #[test]
    fn what_is_meant_by_fmod_ret_syscall() {
        what_is_meant_and_nothing_else("fmod-ret-syscall");
    }

    #[test]
    fn what_is_meant_by_kprobe_override() {
        what_is_meant_and_nothing_else("kprobe-override");
    }

    #[test]
    fn what_is_meant_by_lsm() {
        what_is_meant_and_nothing_else("lsm");
    }

    #[test]
    fn what_is_meant_by_fmod_ret() {
        what_is_meant_and_nothing_else("fmod-ret");
    }

    #[test]
    fn what_is_meant_by_seccomp_notify() {
        what_is_meant_and_nothing_else("seccomp-notify");
    }

    /// What security modules are asked says which file a name is, also in a root of its own.
    #[test]
    fn opens_by_their_path() {
        require!("syscall.error");
        for mechanism in ["lsm", "fmod-ret"] {
            if !can_by(KIND, mechanism) {
                continue;
            }
            let base = tempfile::tempdir().unwrap();
            std::fs::create_dir(base.path().join("in")).unwrap();
            let at = base.path().display();
            let fault = |path: &str| {
                format!(
                    "syscall.error:openat+mkdir+unlinkat=EDQUOT,path={path},mechanism={mechanism}"
                )
            };
            let script = format!(
                "cd {at}; for d in in/a {at}/in/../in/b out; do (: >$d) || echo $d; done; \
                 mkdir in/c || echo dir; touch new && ln -s in link; (: >link/d) || echo link"
            );
            let (said, account) = run_script(&[&fault(&format!("{at}/in/"))], &script);
            let wanted = format!("in/a\n{at}/in/../in/b\ndir\nlink\n");
            assert_eq!(said.out, wanted, "{mechanism} {said:?}");
            assert_eq!(counter(&account, 0, "injected"), 4, "{mechanism}");
            assert_eq!(counter(&account, 0, "error"), 0, "{mechanism} {account}");
        }
    }

    /// By one of these, each of which knows the file of a descriptor: the first that is here.
    fn first_of(mechanisms: &[&'static str]) -> Option<&'static str> {
        mechanisms.iter().copied().find(|by| can_by(KIND, by))
    }

    #[test]
    fn a_path_is_seen_from_the_root_of_its_task() {
        require!("syscall.error");
        let Some(mechanism) = first_of(&["fmod-ret-syscall", "kprobe-override", "lsm", "fmod-ret"])
        else {
            return skip("nothing here knows paths but seccomp-notify");
        };
        // Not in /tmp: the root with everything that is on it has to be seen twice.
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        for folder in ["in", "root"] {
            std::fs::create_dir(base.path().join(folder)).unwrap();
        }
        let at = base.path().display();
        // The last one lies deeper than programs climb.
        let script = format!(
            "mount --bind / {at}/root
            chroot {at}/root bash -c 'echo x >{at}/in/a || echo inside' 2>/dev/null
            (echo x >{at}/root{at}/in/b) 2>/dev/null || echo outside
            umount {at}/root
            cd {at}/in; for i in $(seq 100); do mkdir d; cd d; done
            (echo x >c) || echo deep"
        );
        let fault =
            format!("syscall.error:write=EDQUOT,comm=bash,path={at}/in/,mechanism={mechanism}");
        let (said, account) = run_script(&[&fault], &script);
        assert_eq!(said.out, "inside\n", "{mechanism} {said:?}");
        assert_eq!(counter(&account, 0, "injected"), 1, "{mechanism} {account}");
        assert_eq!(counter(&account, 0, "error"), 1, "{mechanism} {account}");
    }

    /// It looks from outside, and can't tell.
    #[test]
    fn seccomp_notify_lets_pass_who_has_a_root_of_its_own() {
        require!("syscall.error");
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        let at = base.path().display();
        let script = format!(
            "mkdir {at}/root; mount --bind / {at}/root
            chroot {at}/root bash -c 'echo x >{at}/a || echo inside' 2>/dev/null
            umount {at}/root
            (echo x >{at}/b) 2>/dev/null || echo here"
        );
        let fault =
            format!("syscall.error:write=EDQUOT,comm=bash,path={at}/,mechanism=seccomp-notify");
        let (said, account) = run_script(&[&fault], &script);
        assert_eq!(said.out, "here\n", "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 1, "{account}");
        assert!(counter(&account, 0, "error") >= 1, "{account}");
    }

    #[test]
    fn peers_of_ip_version_6() {
        require!("syscall.error");
        let [six, four] = ["[::1]:0", "127.0.0.1:0"].map(|at| TcpListener::bind(at).unwrap());
        let [six, four] = [six, four].map(|listener| {
            let port = listener.local_addr().unwrap().port();
            // Nobody accepts: that somebody listens is enough.
            (listener, port)
        });
        let script = format!(
            "(exec 4<>/dev/tcp/::1/{}) 2>/dev/null || echo six
            (exec 4<>/dev/tcp/127.0.0.1/{}) 2>/dev/null || echo four",
            six.1, four.1
        );
        for mechanism in [
            "fmod-ret-syscall",
            "kprobe-override",
            "lsm",
            "fmod-ret",
            "seccomp-notify",
        ] {
            if !can_by(KIND, mechanism) {
                continue;
            }
            for (peer, hit) in [("::/96", "six\n"), ("fe80::/10", "")] {
                let fault = format!(
                    "syscall.error:connect=ETIMEDOUT,comm=bash,peer={peer},peerPort={},mechanism={mechanism}",
                    six.1
                );
                let (said, account) = run_script(&[&fault], &script);
                assert_eq!(said.out, hit, "{mechanism} {peer} {said:?}");
                let injected = counter(&account, 0, "injected");
                assert_eq!(injected, hit.lines().count() as u64, "{mechanism} {peer}");
            }
        }
    }

    #[test]
    fn a_forged_result_and_a_delay_have_the_same_filters() {
        let base = tempfile::tempdir().unwrap();
        let at = base.path().display();
        let script = format!(
            "put() {{ dd if=/dev/zero bs=$1 count=1 status=none; }}
            put 100 >{at}/large; put 10 >{at}/small; put 100 | wc -c
            stat -c %s {at}/large {at}/small"
        );
        let filters = "comm=dd,fd=regular,minSize=100";
        // A write that is none leaves an empty file, one that waits leaves it as it is.
        for (kind, value, large) in [("syscall.return", "100", 0), ("syscall.delay", "1ms", 100)] {
            for mechanism in ["fmod-ret-syscall", "kprobe-override", "seccomp-notify"] {
                if !can_by(kind, mechanism) {
                    continue;
                }
                let fault = format!("{kind}:write={value},{filters},mechanism={mechanism}");
                let (said, account) = run_script(&[&fault], &script);
                let wanted = format!("100\n{large}\n10\n");
                assert_eq!(said.out, wanted, "{kind} {mechanism} {said:?}");
                for name in ["matched", "injected"] {
                    let found = counter(&account, 0, name);
                    assert_eq!(found, 1, "{kind} {mechanism} {name} {account}");
                }
            }
        }
    }

    #[test]
    fn a_text_is_no_path() {
        require!("syscall.error");
        for mechanism in ["fmod-ret-syscall", "seccomp-notify"] {
            if !can_by(KIND, mechanism) {
                continue;
            }
            let fault = format!("syscall.error:openat=EIO,path=/data/,mechanism={mechanism}");
            let said = kchaos(&["run", "--fault", &fault, "--", "true"]);
            assert_eq!(said.status, 125, "{said:?}");
            assert!(said.err.contains("path needs lsm or fmod-ret"), "{said:?}");
        }
    }
}
