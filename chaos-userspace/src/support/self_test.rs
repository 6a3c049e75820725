//! Tries a mechanism out on a child of our own in a scratch cgroup.

use std::{
    ffi::CStr,
    fs::File,
    io,
    net::{Ipv4Addr, UdpSocket},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::CommandExt as _,
    },
    process::Command,
    time::{Duration, Instant},
};

use chaos_common::{
    AllocationFilter, ConnectOp, DiskOp, FileEvent, GfpClass, LinkConfig, PathFilter, RuleConfig,
    flags, limits::PLANS,
};

use crate::{
    engine::{Calls, Hooks, Object, Plane, RulePlace, RuleSpec},
    experiment::{MapOp, Mechanism},
    node::scratch::ScratchCgroup,
    target::{CgroupTree, Netns, device},
};

/// The last plan and the last rule: nobody else gets these numbers.
pub(crate) const PLAN: u32 = PLANS - 1;
const RULE: u32 = u32::MAX;

/// An errno that no file system gives for an open.
const ERRNO: i32 = libc::EBADE;

/// How long an open is to wait, in microseconds: longer than one takes anywhere.
const DELAY_US: u32 = 3000;

/// A descriptor that nobody has.
const VALUE: i32 = i32::MAX;

/// What the child reports. Its exec never happens, so that the report travels as the error of the
/// spawn, out of any errno's way.
const HIT: i32 = 10_001;
const NOT_HIT: i32 = 10_002;
const WRONG_HIT: i32 = 10_003;

/// The call by which a C library opens files, on x86-64.
const OPENAT: u32 = 257;

/// Memory that is asked for.
const MAPPED: usize = 16 << 20;

/// As many parts as a write may have (`UIO_MAXIOV`): a list of 16 KiB, which no slab cache holds.
const PARTS: usize = 1024;
/// Of its pages.
const PARTS_ORDER: u64 = 2;

const WANTED: &CStr = c"/dev/null";
const UNWANTED: &CStr = c"/dev/zero";

/// How long a packet over the loopback may take.
const PATIENCE: Duration = Duration::from_millis(300);
/// By how much one is delayed: longer than it takes anywhere.
const LATE_NS: u64 = 100_000_000;

/// What an answer is to say: that the server can't.
const RCODE: u8 = 4;

/// How long a self-test may take before its rule ends by itself.
const LEASE: Duration = Duration::from_secs(30);

pub(super) fn run(
    plane: &mut Plane,
    hooks: &mut Hooks,
    object: Object,
    mechanism: Mechanism,
    tree: &CgroupTree,
) -> Result<(), String> {
    let disk = if object == Object::DiskError {
        device::to_flush()
    } else {
        None
    };
    let scratch = scratch(tree, object)?;
    let cgroup = tree
        .open(scratch.path())
        .map_err(|error| error.to_string())?;
    let at = RulePlace::Cgroup {
        id: cgroup.id(),
        level: cgroup.level(),
    };
    let places = [(at, Some(cgroup.as_fd()))];
    let mut result = hooks
        .add(
            plane,
            RULE,
            &places,
            rule(hooks, object, disk.as_ref().map(|(_, number)| *number)),
        )
        .map_err(|error| {
            let reason = super::explain(mechanism, &error);
            match object {
                // Whatever the fault itself is about.
                Object::SyscallError => format!("tried with openat: {reason}"),
                _ => reason,
            }
        })
        .and_then(|()| match object {
            Object::NetLoss => packets(plane, hooks, mechanism, &scratch, packet_is_lost),
            Object::NetLink => packets(plane, hooks, mechanism, &scratch, packet_is_late),
            Object::FileError => fails(
                plane,
                mechanism,
                &scratch,
                errno(object),
                || open(WANTED),
                || open(UNWANTED),
            ),
            Object::SyscallError | Object::MemSlab => fails(
                plane,
                mechanism,
                &scratch,
                errno(object),
                || open(WANTED),
                || access(WANTED),
            ),
            Object::MemPage => fails(
                plane,
                mechanism,
                &scratch,
                errno(object),
                write_parts,
                || open(WANTED),
            ),
            Object::MemMmap => {
                let less = || map(MAPPED / 2);
                fails(
                    plane,
                    mechanism,
                    &scratch,
                    errno(object),
                    || map(MAPPED),
                    less,
                )
            }
            Object::DiskError => {
                if let Some((disk, _)) = disk {
                    let flush = move || flush(&disk);
                    fails(plane, mechanism, &scratch, errno(object), flush, || {
                        access(WANTED)
                    })
                } else {
                    // Then there is nothing to be hit, either; attaching has worked.
                    tracing::debug!("disk.error is not self-tested: this machine has no disk");
                    Ok(())
                }
            }
            Object::NetConnect => fails(plane, mechanism, &scratch, errno(object), connect, || {
                bind()
            }),
            Object::DnsError => packets(plane, hooks, mechanism, &scratch, answer_fails),
        });
    let lies = matches!(
        mechanism,
        Mechanism::FmodRetSyscall | Mechanism::KprobeOverride
    );
    let mut again = |flag, effect, test: fn(Mechanism, &ScratchCgroup) -> Result<(), String>| {
        hooks.remove(plane, RULE);
        let mut rule = rule(hooks, object, None);
        rule.config.flags |= flag;
        rule.config.effect = effect;
        hooks
            .add(plane, RULE, &places, rule)
            .map_err(|error| super::explain(mechanism, &error))
            .and_then(|()| test(mechanism, &scratch))
    };
    if result.is_ok() && lies && object == Object::SyscallError {
        result = again(flags::RETURN, VALUE.unsigned_abs(), open_lies);
    }
    if result.is_ok() && matches!(object, Object::FileError | Object::SyscallError) {
        result = again(flags::DELAY, DELAY_US, open_waits);
    }
    let disarmed = plane.disarm(PLAN).map_err(|error| error.to_string());
    hooks.remove(plane, RULE);
    if lies {
        // Nothing else would see its calls be hit as long as it is there: see `Ways::is_alone`.
        hooks.drop_unused();
    }
    // Nobody is to read of the self-test in somebody's evidence.
    drop(plane.events());
    result.and(disarmed)
}

/// A cgroup for the child, which has what the object's mechanisms need of one.
fn scratch(tree: &CgroupTree, object: Object) -> Result<ScratchCgroup, String> {
    if object != Object::DiskError {
        return ScratchCgroup::make(tree, "probe").map_err(|error| error.to_string());
    }
    // Where this process is there are processes, so that it can hand no controller on.
    let scratch =
        ScratchCgroup::make_below(tree, "/", "probe").map_err(|error| error.to_string())?;
    match tree.lacks(scratch.path(), "io") {
        None => Ok(scratch),
        Some(reason) => Err(format!(
            "a new cgroup below the root has no account of its own with disks: {reason}"
        )),
    }
}

fn rule(hooks: &Hooks, object: Object, device: Option<u32>) -> RuleSpec {
    let path = match object {
        Object::FileError => PathFilter::new(WANTED.to_bytes(), PathFilter::FILE),
        Object::MemSlab
        | Object::MemPage
        | Object::MemMmap
        | Object::DiskError
        | Object::NetConnect
        | Object::NetLink
        | Object::DnsError
        | Object::NetLoss
        | Object::SyscallError => None,
    };
    let calls_of = |number| {
        let mut calls = Calls::default();
        calls.all.insert(number);
        calls.named.insert(number);
        Some(calls)
    };
    let calls = match object {
        Object::FileError => calls_of(FileEvent::Open as u32),
        Object::SyscallError => calls_of(OPENAT),
        Object::MemMmap => calls_of(MapOp::Mmap.number()),
        Object::MemPage | Object::MemSlab => calls_of(GfpClass::Kernel as u32),
        Object::DiskError => calls_of(DiskOp::Flush as u32),
        Object::NetConnect => calls_of(ConnectOp::Connect as u32),
        Object::NetLink | Object::DnsError | Object::NetLoss => None,
    };
    let allocation = match object {
        Object::MemMmap => AllocationFilter::new(MAPPED as u64, None),
        Object::MemPage => AllocationFilter::new(PARTS_ORDER, None),
        Object::MemSlab => AllocationFilter::new(0, Some(b"filp")),
        _ => None,
    };
    RuleSpec {
        hook: hooks.hook(),
        also: None,
        config: RuleConfig {
            plan: PLAN,
            effect: match object {
                Object::DnsError => RCODE.into(),
                _ => errno(object).unsigned_abs(),
            },
            ..RuleConfig::ALWAYS
        },
        path,
        calls,
        narrowing: None,
        allocation,
        device,
        room: None,
        link: (object == Object::NetLink).then_some(LinkConfig {
            delay_ns: LATE_NS,
            ..LinkConfig::default()
        }),
        packet: None,
        dns: None,
        call: None,
        exclude: Vec::new(),
        replay: None,
    }
}

/// What is to fail fails with it.
const fn errno(object: Object) -> i32 {
    match object {
        // Whoever asks makes these of whatever a program says.
        Object::DiskError => libc::EIO,
        Object::MemMmap | Object::MemPage | Object::MemSlab => libc::ENOMEM,
        _ => ERRNO,
    }
}

fn arm(plane: &Plane) -> Result<(), String> {
    plane.arm(PLAN, LEASE).map_err(|error| error.to_string())
}

/// Whether what the rule wants fails in the target, and nothing else does.
fn fails(
    plane: &Plane,
    mechanism: Mechanism,
    scratch: &ScratchCgroup,
    errno: i32,
    wanted: impl Fn() -> Result<(), i32> + Send + Sync + 'static,
    other: fn() -> Result<(), i32>,
) -> Result<(), String> {
    arm(plane)?;
    let neighbour = wanted();
    let report = in_child(scratch, move || match (wanted(), other()) {
        (Err(error), Ok(())) if error == errno => HIT,
        (Err(error), Err(_)) if error == errno => WRONG_HIT,
        _ => NOT_HIT,
    })?;
    if let Err(error) = neighbour {
        return Err(format!(
            "self-test: what is to fail in the target failed outside of it: {}",
            io::Error::from_raw_os_error(error)
        ));
    }
    match report {
        HIT => Ok(()),
        WRONG_HIT => {
            Err("self-test: something else than what was named was hit as well".to_owned())
        }
        _ => Err(not_hit(mechanism)),
    }
}

/// Whether the open returns what the rule says, and nothing else does.
fn open_lies(mechanism: Mechanism, scratch: &ScratchCgroup) -> Result<(), String> {
    let report = in_child(scratch, || {
        // SAFETY: the path ends in a zero.
        match unsafe { libc::open(WANTED.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) } {
            VALUE if access(WANTED).is_ok() => HIT,
            VALUE => WRONG_HIT,
            _ => NOT_HIT,
        }
    })?;
    match report {
        HIT => Ok(()),
        _ => Err(format!(
            "self-test: by {mechanism} a call can be made to fail, but not to return a value"
        )),
    }
}

/// Whether the open waits, and is done then.
fn open_waits(mechanism: Mechanism, scratch: &ScratchCgroup) -> Result<(), String> {
    let report = in_child(scratch, || {
        let start = Instant::now();
        match open(WANTED) {
            Ok(()) if start.elapsed() >= Duration::from_micros(DELAY_US.into()) => HIT,
            Ok(()) => NOT_HIT,
            Err(_) => WRONG_HIT,
        }
    })?;
    match report {
        HIT => Ok(()),
        _ => Err(format!(
            "self-test: by {mechanism} a call can be made to fail, but not to wait"
        )),
    }
}

/// Programs that load and attach but never run.
fn not_hit(mechanism: Mechanism) -> String {
    let order = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let order = order.trim();
    if mechanism == Mechanism::Lsm && !order.split(',').any(|module| module == "bpf") {
        let now = if order.is_empty() {
            "unknown".to_owned()
        } else {
            order.to_owned()
        };
        return format!(
            "the kernel does not ask BPF LSM programs: bpf is not among its security modules (now \
             {now}); boot with lsm={order}{}bpf",
            if order.is_empty() { "" } else { "," }
        );
    }
    "self-test: the programs are attached, but the target was not hit".to_owned()
}

/// Whether a packet of the target over a loopback is hit, and was not before.
fn packets(
    plane: &mut Plane,
    hooks: &mut Hooks,
    mechanism: Mechanism,
    scratch: &ScratchCgroup,
    test: fn() -> i32,
) -> Result<(), String> {
    let mut inside = None;
    if hooks.needs_namespaces() {
        // One of its own, so that nobody else's devices are touched.
        let netns =
            Netns::scratch().map_err(|error| format!("make a network namespace: {error}"))?;
        hooks
            .cover(plane, RULE, std::slice::from_ref(&netns))
            .map_err(|error| super::explain(mechanism, &error))?;
        inside = Some(netns);
    }
    let try_it = move || match inside.as_ref().map_or(Ok(()), Netns::join) {
        Ok(()) => test(),
        Err(_) => WRONG_HIT,
    };
    if in_child(scratch, try_it.clone())? != NOT_HIT {
        // Without a loopback nothing can be tried out; attaching has worked.
        tracing::debug!("packets are not self-tested: none comes through the loopback");
        return Ok(());
    }
    arm(plane)?;
    match in_child(scratch, try_it)? {
        HIT => Ok(()),
        _ => Err(not_hit(mechanism)),
    }
}

fn packet_is_lost() -> i32 {
    if over_loopback().is_ok() {
        NOT_HIT
    } else {
        HIT
    }
}

fn packet_is_late() -> i32 {
    match over_loopback() {
        Ok(took) if took >= Duration::from_nanos(LATE_NS) => HIT,
        Ok(_) => NOT_HIT,
        Err(_) => WRONG_HIT,
    }
}

/// Whether the answer of a server to a question says what the rule wants.
fn answer_fails() -> i32 {
    match question_and_answer() {
        Ok(rcode) if rcode == RCODE => HIT,
        Ok(0) => NOT_HIT,
        Ok(_) | Err(_) => WRONG_HIT,
    }
}

/// What an answer says that comes over the loopback.
fn question_and_answer() -> io::Result<u8> {
    /// A question about the address of `k`.
    const ANSWER: [u8; 19] = [
        1, 2, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'k', 0, 0, 1, 0, 1,
    ];
    const DNS: u16 = 53;
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, DNS))?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.set_read_timeout(Some(PATIENCE))?;
    server.send_to(&ANSWER, client.local_addr()?)?;
    let mut got = [0; ANSWER.len()];
    client.recv(&mut got)?;
    Ok(got[3] & 0xf)
}

/// How long a packet takes from a socket to itself.
fn over_loopback() -> io::Result<Duration> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(socket.local_addr()?)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let sent = Instant::now();
    socket.send(b"kchaos")?;
    socket.recv(&mut [0; 16])?;
    Ok(sent.elapsed())
}

/// Connects a socket to nobody, without a packet. Without a loopback that fails by itself, but not as
/// the rule says.
fn connect() -> Result<(), i32> {
    on_socket(libc::connect).or_else(|error| if error == ERRNO { Err(error) } else { Ok(()) })
}

/// Gives a socket an address of its own.
fn bind() -> Result<(), i32> {
    on_socket(libc::bind)
}

/// Asks a new socket of UDP for something about any address and any port.
fn on_socket(
    ask: unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> i32,
) -> Result<(), i32> {
    /// `AF_INET`, and the length of its addresses.
    const FAMILY: libc::sa_family_t = 2;
    const LENGTH: libc::socklen_t = 16;
    const _: () = assert!(size_of::<libc::sockaddr_in>() == 16);
    let address = libc::sockaddr_in {
        sin_family: FAMILY,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    };
    // SAFETY: nobody else has the descriptor, and the address is as long as is said.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(last_errno());
        }
        let done = ask(socket, (&raw const address).cast(), LENGTH);
        let error = last_errno();
        libc::close(socket);
        if done < 0 { Err(error) } else { Ok(()) }
    }
}

fn open(path: &CStr) -> Result<(), i32> {
    // SAFETY: the path ends in a zero.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: nobody else has this descriptor.
    unsafe { libc::close(fd) };
    Ok(())
}

fn access(path: &CStr) -> Result<(), i32> {
    // SAFETY: the path ends in a zero.
    if unsafe { libc::access(path.as_ptr(), libc::F_OK) } != 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// Asks for memory, and gives it back.
fn map(bytes: usize) -> Result<(), i32> {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping, which nobody has a pointer into when it is taken away.
    unsafe {
        let mapped = libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0);
        if mapped == libc::MAP_FAILED {
            return Err(last_errno());
        }
        libc::munmap(mapped, bytes);
    }
    Ok(())
}

/// Writes nothing in so many parts that the kernel needs pages for the list of them.
fn write_parts() -> Result<(), i32> {
    let nothing = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let parts = [nothing; PARTS];
    // SAFETY: the path ends in a zero, nobody else has the descriptor, and the parts have no bytes.
    unsafe {
        let fd = libc::open(WANTED.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(last_errno());
        }
        let written = libc::syscall(libc::SYS_writev, fd, parts.as_ptr(), PARTS);
        let error = last_errno();
        libc::close(fd);
        if written < 0 { Err(error) } else { Ok(()) }
    }
}

/// Asks a disk to write out what is in its cache.
fn flush(disk: &File) -> Result<(), i32> {
    // SAFETY: takes a descriptor, which is open.
    if unsafe { libc::fsync(disk.as_raw_fd()) } != 0 {
        return Err(last_errno());
    }
    Ok(())
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Runs a function in a child inside the scratch cgroup and returns its report.
fn in_child(
    scratch: &ScratchCgroup,
    report: impl Fn() -> i32 + Send + Sync + 'static,
) -> Result<i32, String> {
    let join = scratch.joiner().map_err(|error| error.to_string())?;
    let mut command = Command::new("/proc/self/exe");
    // SAFETY: between fork and exec the child only makes system calls on its own descriptors and
    // stack: nothing in there allocates or takes a lock.
    unsafe {
        command.pre_exec(move || {
            join.join()?;
            Err(io::Error::from_raw_os_error(report()))
        });
    }
    match command.spawn() {
        Err(error) => match error.raw_os_error() {
            Some(report @ (HIT | NOT_HIT | WRONG_HIT)) => Ok(report),
            _ => Err(format!("self-test: a child could not be started: {error}")),
        },
        Ok(mut child) => {
            // Unreachable by the closure above; a child that did start is not left behind.
            let ended = child.kill().and_then(|()| child.wait());
            Err(format!(
                "self-test: a child started that should not have ({ended:?})"
            ))
        }
    }
}
