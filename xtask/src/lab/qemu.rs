//! Starts QEMU such that it can neither outlive xtask nor leave a file behind.

use std::{
    fs::File,
    io::{self, Seek as _},
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{
    accel::Accel,
    request::{CONTROL_PORT, ROOT_TAG, STDERR_PORT, STDOUT_PORT},
};

/// The emulator that is looked for on PATH.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// What to boot and how.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// The kernel's image.
    pub(crate) image: &'a Path,
    /// The whole initramfs.
    pub(crate) initramfs: Vec<u8>,
    /// The kernel's command line.
    pub(crate) command_line: String,
    /// KVM or not.
    pub(crate) accel: Accel,
    /// Processors of the guest.
    pub(crate) cpus: u32,
    /// Memory of the guest in MiB.
    pub(crate) memory: u32,
}

/// A running QEMU with the host's ends of its lines.
#[derive(Debug)]
pub(crate) struct Running {
    /// The process.
    pub(crate) child: Child,
    /// The serial console.
    pub(crate) console: UnixStream,
    /// The command's standard output.
    pub(crate) stdout: UnixStream,
    /// The command's standard error.
    pub(crate) stderr: UnixStream,
    /// Reports of init.
    pub(crate) control: UnixStream,
}

impl Machine<'_> {
    /// Starts it; what QEMU itself complains about goes to the log.
    pub(crate) fn start(&self, log: &File) -> Result<Running> {
        let initramfs = memory_file(&self.initramfs)?;
        let (console, console_fd) = UnixStream::pair()?;
        let (stdout, stdout_fd) = UnixStream::pair()?;
        let (stderr, stderr_fd) = UnixStream::pair()?;
        let (control, control_fd) = UnixStream::pair()?;

        let mut command = Command::new(PROGRAM);
        command.args(self.accel.arguments());
        command.args([
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &self.memory.to_string(),
        ]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ]);
        command.arg("-kernel").arg(self.image);
        command.args([
            "-initrd",
            &format!("/proc/self/fd/{}", initramfs.as_raw_fd()),
        ]);
        command.args(["-append", &self.command_line]);
        command.args([
            "-chardev",
            &format!("socket,id=console,fd={}", console_fd.as_raw_fd()),
        ]);
        command.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        for (id, fd, name) in [
            ("control", &control_fd, CONTROL_PORT),
            ("stdout", &stdout_fd, STDOUT_PORT),
            ("stderr", &stderr_fd, STDERR_PORT),
        ] {
            command.args(["-chardev", &format!("socket,id={id},fd={}", fd.as_raw_fd())]);
            command.args([
                "-device",
                &format!("virtserialport,chardev={id},name={name}"),
            ]);
        }
        command.args([
            "-virtfs",
            &format!(
                "local,path=/,mount_tag={ROOT_TAG},security_model=none,readonly=on,multidevs=remap"
            ),
        ]);
        let inherited: Vec<RawFd> = [&console_fd, &stdout_fd, &stderr_fd, &control_fd]
            .iter()
            .map(|socket| socket.as_raw_fd())
            .chain([initramfs.as_raw_fd()])
            .collect();
        let parent = std::process::id();
        // SAFETY: only async-signal-safe calls between fork and exec, on descriptors that the
        // parent keeps open until spawn returns.
        unsafe {
            command.pre_exec(move || {
                die_with(parent)?;
                inherited.iter().try_for_each(|fd| inherit(*fd))
            });
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.try_clone()?)
            .spawn()
            .with_context(|| format!("start {PROGRAM}"))?;
        Ok(Running {
            child,
            console,
            stdout,
            stderr,
            control,
        })
    }
}

/// An unnamed file: nothing to clean up, and nobody else can read the caller's environment.
fn memory_file(contents: &[u8]) -> Result<OwnedFd> {
    let fd = nix::sys::memfd::memfd_create(c"initramfs", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .context("create the initramfs in memory")?;
    let mut file = File::from(fd);
    io::Write::write_all(&mut file, contents)?;
    file.rewind()?;
    Ok(file.into())
}

/// Has the kernel kill this process when its parent dies, however that happens.
fn die_with(parent: u32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // It may have died before the line above.
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::other("xtask is gone"));
    }
    Ok(())
}

fn inherit(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes an integer; the descriptor is open.
    nix::errno::Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    Ok(())
}
