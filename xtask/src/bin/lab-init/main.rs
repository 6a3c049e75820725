//! PID 1 of the kernel lab: makes the machine's files the root of the guest, runs one command and
//! reports its output and its end over virtio-serial ports.
//!
//! Static, so that it needs nothing of the initramfs but itself.

mod cgroup;
mod command;
mod kmod;
mod mounts;
mod ports;
#[path = "../../lab/request.rs"]
mod request;

use std::{
    fs,
    io::Write as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::MsFlags,
    sys::{reboot::RebootMode, resource},
};

use crate::{
    ports::{Control, Ports},
    request::{REQUEST_PATH, Report, Request},
};

/// More urgent than whatever the command does, so that a busy guest is not taken for a dead one.
const HEARTBEAT_NICE: i32 = -20;
const HEARTBEAT: Duration = Duration::from_secs(1);

fn main() {
    if let Err(error) = run() {
        log(&format!("failed: {error:#}"));
    }
    // The host ends the machine once it has what it needs; this is for when it could not be told.
    thread::sleep(Duration::from_secs(30));
    nix::sys::reboot::reboot(RebootMode::RB_POWER_OFF).ok();
}

/// Writes a line to the kernel's log, hence to the console.
fn log(message: &str) {
    if let Ok(mut kmsg) = fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        writeln!(kmsg, "<4>lab-init: {message}").ok();
    }
}

fn uptime() -> f64 {
    fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_default()
}

fn run() -> Result<()> {
    mounts::initramfs()?;
    let request: Request =
        serde_json::from_slice(&fs::read(REQUEST_PATH).context("read the request")?)
            .context("parse the request")?;
    kmod::load(&request.early_modules)?;
    let ports = Ports::open()?;
    let control = Arc::new(ports.control);
    control.send(&Report::Started(uptime()))?;
    let outcome = set_up_and_run(&request, &control, ports.stdout, ports.stderr);
    if let Err(error) = &outcome {
        control.send(&Report::Failed(format!("{error:#}")))?;
    }
    outcome
}

fn set_up_and_run(
    request: &Request,
    control: &Arc<Control>,
    stdout: fs::File,
    stderr: fs::File,
) -> Result<()> {
    heartbeat(Arc::clone(control));
    // Loading dozens of modules takes as long as mounting everything: do both at once.
    let late = request.late_modules.clone();
    let modules = thread::spawn(move || kmod::load(&late));
    mounts::root(request)?;
    if let Ok(result) = modules.join() {
        result?;
    }
    mounts::enter_root()?;
    for note in mounts::pseudo_file_systems() {
        log(&note);
    }
    for note in cgroup::mount_all(request.cgroup1)? {
        log(&note);
    }
    mounts::keep_visible(request)?;
    nix::unistd::sethostname("kchaos-lab").context("set the host name")?;
    loopback_up().context("bring lo up")?;
    resource::setrlimit(resource::Resource::RLIMIT_NOFILE, 1024, 524_288).ok();
    control.send(&Report::Ready(uptime()))?;
    command::run(request, control, stdout, stderr)
}

fn heartbeat(control: Arc<Control>) {
    thread::spawn(move || {
        // SAFETY: setpriority takes no pointers; 0 is the calling thread.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, HEARTBEAT_NICE) };
        let mut next = Instant::now();
        loop {
            control.send(&Report::Alive).ok();
            next += HEARTBEAT;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
}

fn loopback_up() -> Result<()> {
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = from.cast_signed();
    }
    // Both constants fit: they are small flags.
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).context("interface flags")?;
    // SAFETY: the socket is open and the argument is an initialised ifreq that outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Mounts a file system, with the place in the error.
fn mount(source: &str, target: &str, kind: &str, flags: MsFlags, data: Option<&str>) -> Result<()> {
    nix::mount::mount(Some(source), target, Some(kind), flags, data)
        .with_context(|| format!("mount {kind} on {target}"))
}
