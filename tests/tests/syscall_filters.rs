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
