//! A tender without an owner, stopped at its requests to the kernel.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    ptr,
    time::{Duration, Instant},
};

use crate::lab::KCHAOS;

/// Where a tender was left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Where it was meant to be.
    There,
    /// It had answered before.
    Done,
}

pub(crate) struct Tender {
    child: Child,
    ours: UnixStream,
    answer: Vec<u8>,
}

/// An offset of an hour for one process, in the words of an owner.
pub(crate) fn order(pid: u32) -> String {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start = line
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(19)
        .unwrap();
    let bend = r#"{"offset":3600000000000,"rate":0,"step":0,"every":0,"times":0,"flags":0}"#;
    let wanted = format!(r#"{{"bases":["Realtime","Tai"],"bend":{bend},"backwards":true}}"#);
    format!(
        r#"{{"Bend":{{"id":1,"target":{{"Process":[{pid},{start}]}},"excluded":[],"wanted":{wanted},"start_ns":0,"deadline_ns":9000000000000000000,"pulse_ns":null,"held":null}}}}"#
    )
}

impl Tender {
    /// Its owner has ended, so that what it leaves can be healed.
    pub(crate) fn start(state: &Path) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let child = Command::new(KCHAOS)
            .args(["clock-tender", "4194303-1", "600000"])
            .arg(state)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut tender = Self {
            child,
            ours,
            answer: Vec::new(),
        };
        // It is ready.
        tender.say("\"Beat\"");
        tender.say("{\"Look\":0}");
        tender.wait_for_answer();
        tender.answer.clear();
        tender
    }

    fn tid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn say(&mut self, line: &str) {
        self.ours.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn has_answered(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.ours.read(&mut bytes) {
            Ok(read) => self.answer.extend_from_slice(&bytes[..read]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        self.answer.contains(&b'\n')
    }

    fn wait_for_answer(&mut self) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.has_answered() {
            assert!(Instant::now() < until, "no answer");
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut line = String::new();
        BufReader::new(&self.answer[..])
            .read_line(&mut line)
            .unwrap();
        line
    }

    /// Gives an order, and stops it ahead of so many a request of ptrace(2).
    pub(crate) fn run_to(&mut self, order: &str, nth: usize) -> Held {
        let mut seen = 0;
        self.run(order, |_request| {
            seen += 1;
            seen == nth
        })
    }

    /// Gives an order, and stops it when somebody is about to make its first call.
    pub(crate) fn run_to_first_call(&mut self, order: &str) -> Held {
        self.run(order, |request| request == u64::from(libc::PTRACE_SYSCALL))
    }

    fn run(&mut self, order: &str, mut is_it: impl FnMut(u64) -> bool) -> Held {
        let tid = self.tid();
        ptrace(
            libc::PTRACE_SEIZE,
            tid,
            libc::PTRACE_O_TRACESYSGOOD as usize,
        );
        ptrace(libc::PTRACE_INTERRUPT, tid, 0);
        wait(tid);
        self.say(order);
        loop {
            ptrace(libc::PTRACE_SYSCALL, tid, 0);
            let status = wait(tid);
            assert!(libc::WIFSTOPPED(status), "it has ended: {status:x}");
            if self.has_answered() {
                return Held::Done;
            }
            if libc::WSTOPSIG(status) & 0x80 == 0 {
                continue;
            }
            let registers = registers(tid);
            // At its end it has a result.
            let begins = registers.rax.cast_signed() == i64::from(-libc::ENOSYS);
            let call = registers.orig_rax.cast_signed();
            if begins && call == libc::SYS_ptrace && is_it(registers.rdi) {
                return Held::There;
            }
        }
    }

    /// Lets it go, and waits for what it says.
    pub(crate) fn go_on(&mut self) -> String {
        ptrace(libc::PTRACE_DETACH, self.tid(), 0);
        self.wait_for_answer()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn wait(tid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: writes a status.
    let found = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
    assert_eq!(found, tid, "{}", std::io::Error::last_os_error());
    status
}

fn ptrace(request: libc::c_uint, tid: i32, data: usize) {
    let none = ptr::null_mut::<libc::c_void>();
    let data = ptr::without_provenance_mut::<libc::c_void>(data);
    // SAFETY: these requests take a number.
    let result = unsafe { libc::ptrace(request, tid, none, data) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn registers(tid: i32) -> libc::user_regs_struct {
    let none = ptr::null_mut::<libc::c_void>();
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    // SAFETY: writes registers.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, none, registers.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has filled it.
    unsafe { registers.assume_init() }
}
