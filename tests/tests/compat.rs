//! System calls of 32-bit programs: what asks the security modules hits them as what they are, and what
//! hangs on calls of x86-64's lets them pass.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        counter,
        needs::{can_by, skip},
        run_script,
    };

    const KIND: &str = "syscall.error";
    const EIO: i32 = 5;
    const ETIMEDOUT: i32 = 110;
    const ECONNREFUSED: i32 = 111;

    /// What the program says, and what each of the rules injected.
    fn said(faults: &[String], path: &std::path::Path) -> (Vec<String>, Vec<u64>) {
        let words: Vec<&str> = faults.iter().map(String::as_str).collect();
        let program = env!("CARGO_BIN_EXE_elder");
        let (said, account) = run_script(&words, &format!("{program} {}", path.display()));
        let count = |name: &str| {
            let each = 0..faults.len();
            each.map(|fault| counter(&account, fault, name)).collect()
        };
        let errors: Vec<u64> = count("error");
        assert_eq!(errors, vec![0; faults.len()], "{said:?} {account}");
        (
            said.out.lines().map(str::to_owned).collect(),
            count("injected"),
        )
    }

    fn lines(open: i32, openat: i32, connect: i32, native: i32) -> Vec<String> {
        [
            ("open", open),
            ("openat", openat),
            ("connect", connect),
            ("native", native),
        ]
        .map(|(what, errno)| format!("{what} {errno}"))
        .to_vec()
    }

    fn are_hit_as_what_they_are(mechanism: &str) {
        if !can_by(KIND, mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let faults = [
            format!("openat=EIO,path={}", file.path().display()),
            "connect=ETIMEDOUT,comm=elder".to_owned(),
        ]
        .map(|rest| format!("syscall.error:{rest},mechanism={mechanism}"));
        let (said, injected) = said(&faults, file.path());
        // An `open` is no `openat`, though its number is that of a call of x86-64's.
        assert_eq!(said, lines(0, EIO, ETIMEDOUT, EIO), "{mechanism}");
        assert_eq!(injected, [2, 1], "{mechanism}");
    }

    #[test]
    fn are_hit_as_what_they_are_by_lsm() {
        are_hit_as_what_they_are("lsm");
    }

    #[test]
    fn are_hit_as_what_they_are_by_fmod_ret() {
        are_hit_as_what_they_are("fmod-ret");
    }

    fn pass(mechanism: &str) {
        if !can_by(KIND, mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = format!("syscall.error:connect=ETIMEDOUT,comm=elder,mechanism={mechanism}");
        let (said, injected) = said(&[fault], file.path());
        assert_eq!(said, lines(0, 0, ECONNREFUSED, 0), "{mechanism}");
        assert_eq!(injected, [0], "{mechanism}");
    }

    #[test]
    fn pass_by_fmod_ret_syscall() {
        pass("fmod-ret-syscall");
    }

    #[test]
    fn pass_by_seccomp_notify() {
        pass("seccomp-notify");
    }
}
