//! What a call is about, as registers, /proc and the caller's memory tell it.
//!
//! The kernel reads that memory again when a call goes on, so that a caller which changes it meanwhile
//! is told apart by what lay there before. A call that fails or lies is not done at all.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{FileExt as _, MetadataExt as _},
        },
    },
    path::{Path, PathBuf},
};

use chaos_common::{
    Address, CallFacts, FdKind,
    arguments::{self, OpenFlags, Peer},
    part,
};
use libc::seccomp_data;

/// What the kernel says behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// `sizeof(struct sockaddr_in)`, and `SIN6_LEN_RFC2133`, the shortest that the kernel takes.
const INET_BYTES: usize = 16;
const INET6_BYTES: usize = 24;

/// The longest address that is looked at.
const ADDRESS_BYTES: usize = 28;

/// What can be told of a call of a thread that waits for the answer.
pub(super) fn learn(tid: u32, data: &seccomp_data) -> CallFacts {
    let mut facts = CallFacts::default();
    let call = number(data);
    if arguments::has_descriptor(call)
        && let Some(kind) = kind(tid, data)
    {
        facts.fd_kind = kind;
        facts.known |= part::FD;
    }
    if let Some(index) = arguments::size(call) {
        facts.size = data.args[index];
        facts.known |= part::SIZE;
    }
    if let Some(flags) = open_flags(tid, data) {
        facts.open_flags = flags;
        facts.known |= part::OPEN_FLAGS;
    }
    if let Some(at) = arguments::peer(call)
        && let Some(peer) = peer(tid, data, at)
    {
        let (address, port) = peer;
        (facts.peer, facts.port) = (address, port.into());
        facts.known |= part::PEER | part::PORT;
    }
    facts
}

/// The path of the file behind a call's first argument as the caller sees it; empty where it has none.
pub(super) fn path(tid: u32, data: &seccomp_data) -> Option<Vec<u8>> {
    let link = link(tid, data);
    let path = match fs::read_link(&link) {
        Ok(path) => path,
        Err(error) => return (error.kind() == io::ErrorKind::NotFound).then_some(Vec::new()),
    };
    // `pipe:[7]`, and the name of a memory file, which nobody finds there.
    if !path.is_absolute() || path.as_os_str().as_bytes().starts_with(b"/memfd:") {
        return Some(Vec::new());
    }
    // A link tells names as this process sees them, the caller's root among them: `/` if it is ours.
    // Its inode would not tell: the same folder may be mounted twice.
    let mounts = |who: &str| {
        let namespace = fs::metadata(format!("/proc/{who}/ns/mnt")).ok()?;
        Some((namespace.dev(), namespace.ino()))
    };
    let root = fs::read_link(format!("/proc/{tid}/root")).ok()?;
    if mounts("self")? != mounts(&tid.to_string())? || root != Path::new("/") {
        return None;
    }
    Some(named(&path, &link).as_os_str().as_bytes().to_owned())
}

/// The name without what the kernel says of it: a file may be called so.
fn named(path: &Path, link: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let Some(stem) = bytes.strip_suffix(DELETED) else {
        return path.to_owned();
    };
    let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    if identity(path).is_some() && identity(path) == identity(link) {
        return path.to_owned();
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(stem))
}

fn number(data: &seccomp_data) -> u64 {
    data.nr.unsigned_abs().into()
}

fn link(tid: u32, data: &seccomp_data) -> PathBuf {
    // A descriptor is an int, whatever the register's upper half holds.
    let fd = data.args[0] & u64::from(u32::MAX);
    PathBuf::from(format!("/proc/{tid}/fd/{fd}"))
}

fn kind(tid: u32, data: &seccomp_data) -> Option<u32> {
    match fs::metadata(link(tid, data)) {
        Ok(file) => Some(FdKind::of_mode(file.mode())),
        Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(0),
    }
}

fn open_flags(tid: u32, data: &seccomp_data) -> Option<u32> {
    let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).ok();
    match arguments::open_flags(number(data))? {
        OpenFlags::Argument(index) => low(data.args[index]),
        OpenFlags::Always(flags) => Some(flags),
        // `struct open_how` begins with them (include/uapi/linux/openat2.h).
        OpenFlags::Pointed(index) => low(u64::from_ne_bytes(memory(tid, data.args[index])?)),
    }
}

/// Whom a call talks to; without a family where that is nobody who has an address of ours.
fn peer(tid: u32, data: &seccomp_data, at: Peer) -> Option<(Address, u16)> {
    let (pointer, length) = match at {
        Peer::Socket => (0, 0),
        Peer::Address(index) | Peer::AddressOrSocket(index) => {
            (data.args[index], data.args[index + 1])
        }
        // `struct user_msghdr` begins with a pointer and an int (include/linux/socket.h).
        Peer::Message(index) => {
            let message = data.args[index];
            let length = u32::from_ne_bytes(memory(tid, message.checked_add(8)?)?);
            (u64::from_ne_bytes(memory(tid, message)?), length.into())
        }
    };
    match (at, pointer) {
        (Peer::Address(_), 0) => Some((Address::default(), 0)),
        (_, 0) => of_socket(tid, data),
        _ => {
            let length = usize::try_from(length & u64::from(u32::MAX)).ok()?;
            let mut bytes = [0; ADDRESS_BYTES];
            let wanted = bytes.get_mut(..length.min(ADDRESS_BYTES))?;
            read(tid, pointer, wanted)?;
            Some(address(wanted).unwrap_or_default())
        }
    }
}

/// What a `struct sockaddr` says.
fn address(bytes: &[u8]) -> Option<(Address, u16)> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    if bytes.len() < INET_BYTES {
        return None;
    }
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some((of_ip(Ipv4Addr::from(octets).into()), port))
        }
        libc::AF_INET6 if bytes.len() >= INET6_BYTES => {
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            Some((of_ip(Ipv6Addr::from(octets).into()), port))
        }
        _ => None,
    }
}

fn of_ip(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::ipv4(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let (words, _rest) = octets.as_chunks();
            Address::ipv6(
                [0, 1].map(|at| words.get(at).map_or(0, |word| u64::from_ne_bytes(*word))),
            )
        }
    }
}

/// Whom a socket of the caller's is connected to, asked of a copy of it.
fn of_socket(tid: u32, data: &seccomp_data) -> Option<(Address, u16)> {
    if kind(tid, data)? != FdKind::Socket.bit() {
        return Some((Address::default(), 0));
    }
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let pid: i32 = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))?
        .trim()
        .parse()
        .ok()?;
    // SAFETY: takes integers; the kernel has just returned these descriptors to us alone.
    let opened = |fd: libc::c_long| -> Option<OwnedFd> {
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: see above.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    // SAFETY: takes integers.
    let process = opened(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(data.args[0] & u64::from(u32::MAX)).ok()?;
    // SAFETY: takes integers.
    let socket =
        opened(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?;
    let mut bytes = [0_u8; ADDRESS_BYTES];
    let mut length = libc::socklen_t::try_from(bytes.len()).ok()?;
    // SAFETY: room for so many bytes, and a length that says so.
    let got = unsafe {
        libc::getpeername(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if got < 0 {
        // Not connected.
        return Some((Address::default(), 0));
    }
    let length = usize::try_from(length).ok()?.min(ADDRESS_BYTES);
    Some(bytes.get(..length).and_then(address).unwrap_or_default())
}

fn memory<const N: usize>(tid: u32, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    read(tid, at, &mut bytes)?;
    Some(bytes)
}

fn read(tid: u32, at: u64, into: &mut [u8]) -> Option<()> {
    let memory = File::open(format!("/proc/{tid}/mem")).ok()?;
    memory.read_exact_at(into, at).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn this() -> u32 {
        std::process::id()
    }

    fn call(number: i64, args: [u64; 6]) -> seccomp_data {
        seccomp_data {
            nr: i32::try_from(number).unwrap(),
            arch: 0,
            instruction_pointer: 0,
            args,
        }
    }

    fn on(number: i64, fd: &impl std::os::fd::AsRawFd) -> seccomp_data {
        call(
            number,
            [fd.as_raw_fd().unsigned_abs().into(), 0, 7, 0, 0, 0],
        )
    }

    #[test]
    fn descriptors_are_told_by_kind_and_path() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("a (deleted)");
        let file = File::create(&name).unwrap();
        let data = on(libc::SYS_write, &file);
        let facts = learn(this(), &data);
        assert_eq!(facts.fd_kind, FdKind::Regular.bit());
        assert_eq!(facts.size, 7);
        let bytes = |path: &Path| Some(path.as_os_str().as_bytes().to_owned());
        assert_eq!(path(this(), &data), bytes(&name));
        fs::remove_file(&name).unwrap();
        assert_eq!(path(this(), &data), bytes(&name));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let data = on(libc::SYS_write, &socket);
        assert_eq!(learn(this(), &data).fd_kind, FdKind::Socket.bit());
        assert_eq!(path(this(), &data), Some(Vec::new()));
        let none = call(libc::SYS_write, [1 << 20, 0, 0, 0, 0, 0]);
        assert_eq!(learn(this(), &none).fd_kind, 0);
        assert_eq!(path(this(), &none), Some(Vec::new()));
    }

    #[test]
    fn peers_are_told_by_argument_and_by_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let stream = TcpStream::connect(at).unwrap();
        let facts = learn(this(), &on(libc::SYS_write, &stream));
        assert_eq!(facts.peer, of_ip(at.ip()));
        assert_eq!(facts.port, u32::from(at.port()));
        assert_eq!(learn(this(), &on(libc::SYS_write, &listener)).port, 0);
        let mut bytes = [0_u8; 16];
        bytes[..2].copy_from_slice(&2_u16.to_ne_bytes());
        bytes[2..8].copy_from_slice(&[0, 80, 10, 1, 2, 3]);
        let data = call(
            libc::SYS_connect,
            [0, bytes.as_ptr().addr() as u64, 16, 0, 0, 0],
        );
        let facts = learn(this(), &data);
        assert_eq!(facts.peer, of_ip("10.1.2.3".parse().unwrap()));
        assert_eq!(facts.port, 80);
    }
}
