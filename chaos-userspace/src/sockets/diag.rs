//! Connections of TCP as the kernel's `sock_diag(7)` knows them: those that there are, and their end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `include/uapi/linux/sock_diag.h`
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// `include/uapi/linux/inet_diag.h`, since Linux 5.9
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `include/net/tcp_states.h`: connections that their program can still send on.
const TCP_ESTABLISHED: u32 = 1;
const TCP_CLOSE_WAIT: u32 = 8;
const STATES: u32 = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT;

/// `struct nlmsghdr`, `struct inet_diag_sockid`, `struct inet_diag_msg`
const HEADER_BYTES: usize = 16;
const ID_BYTES: usize = 48;
const MESSAGE_BYTES: usize = 72;
/// Where the id begins in the latter.
const ID_AT: usize = 4;

/// Families, and the protocol, as one byte each (`AF_INET`, `AF_INET6`, `IPPROTO_TCP`).
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TCP: u8 = 6;

/// Flags of a request: that a list answers it (`NLM_F_DUMP`), or an acknowledgement (`NLM_F_ACK`).
const LIST: u16 = 0x301;
const ACKNOWLEDGE: u16 = 0x005;

/// The whole request: a header and a `struct inet_diag_req_v2`.
const REQUEST_BYTES: u8 = 72;

/// The cookie of a connection that is known by its ends alone.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// One end of a connection, on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    family: u8,
    /// As the kernel says it, with the cookie that no other connection has.
    id: [u8; ID_BYTES],
    /// Of the cgroup that the socket was made in; `None` from kernels that do not tell.
    pub(super) cgroup: Option<u64>,
    /// The own end.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) peer: SocketAddr,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destroyed {
    /// It is no more: its program is told ECONNABORTED, its peer is reset.
    Now,
    /// It was gone before.
    Before,
}

/// A socket to ask with, in the network namespace of the thread that has opened it.
#[derive(Debug)]
pub(super) struct Diag {
    socket: OwnedFd,
    sequence: u32,
}

impl Diag {
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: takes integers.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_SOCK_DIAG,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
            socket: unsafe { OwnedFd::from_raw_fd(fd) },
            sequence: 0,
        })
    }

    /// All connections of the namespace, by IPv4 and by IPv6.
    pub(super) fn connections(&mut self) -> io::Result<Vec<Connection>> {
        let mut found = Vec::new();
        for family in [IPV4, IPV6] {
            self.send(SOCK_DIAG_BY_FAMILY, LIST, family, &[0; ID_BYTES])?;
            self.receive(|body| found.extend(Connection::read(body)))?;
        }
        Ok(found)
    }

    /// Ends a connection: `tcp_abort` in the kernel, as `ss --kill` does.
    pub(super) fn destroy(&mut self, connection: &Connection) -> io::Result<Destroyed> {
        self.destroy_by_id(connection.family, &connection.id)
    }

    /// Whether the kernel would end a connection at all: it is asked to end one that can't be, of port 0.
    pub(super) fn can_destroy(&mut self) -> io::Result<()> {
        let mut id = [0; ID_BYTES];
        id[ID_BYTES - NO_COOKIE.len()..].copy_from_slice(&NO_COOKIE);
        self.destroy_by_id(IPV4, &id).map(drop)
    }

    fn destroy_by_id(&mut self, family: u8, id: &[u8; ID_BYTES]) -> io::Result<Destroyed> {
        self.send(SOCK_DESTROY, ACKNOWLEDGE, family, id)?;
        match self.receive(|_| {}) {
            Ok(()) => Ok(Destroyed::Now),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Destroyed::Before),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, kind: u16, flags: u16, family: u8, id: &[u8; ID_BYTES]) -> io::Result<()> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(REQUEST_BYTES.into());
        message.extend(u32::from(REQUEST_BYTES).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend([family, TCP, 0, 0]);
        message.extend(STATES.to_ne_bytes());
        message.extend(id);
        // SAFETY: the message is as long as is said.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Hands over the bodies of what answers the last message, until the kernel says that this was all.
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        // What the kernel puts into one datagram at most (net/netlink/af_netlink.c).
        let mut buffer = vec![0; 32 * 1024];
        loop {
            // SAFETY: the buffer is as long as is said.
            let received = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                )
            };
            let Ok(received) = usize::try_from(received) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            };
            let mut rest = buffer.get(..received).unwrap_or_default();
            while let Some((kind, sequence, body, next)) = message(rest) {
                rest = next;
                // Left over from an answer that was given up.
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => return status(body),
                    _ => each(body),
                }
            }
        }
    }
}

/// The first of several messages: its kind, its number and its body; and what follows it.
fn message(bytes: &[u8]) -> Option<(i32, u32, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(array(bytes, 0)?) as usize;
    let kind = u16::from_ne_bytes(array(bytes, 4)?);
    let sequence = u32::from_ne_bytes(array(bytes, 8)?);
    let body = bytes.get(HEADER_BYTES..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind.into(), sequence, body, next))
}

/// What an acknowledgement says, or the end of a list.
fn status(body: &[u8]) -> io::Result<()> {
    match array(body, 0).map_or(0, i32::from_ne_bytes) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

impl Connection {
    /// From a `struct inet_diag_msg` with its attributes.
    fn read(body: &[u8]) -> Option<Self> {
        let family = *body.first()?;
        let id: [u8; ID_BYTES] = array(body, ID_AT)?;
        let address = |at: usize| -> Option<IpAddr> {
            Some(if family == IPV4 {
                Ipv4Addr::from(array::<4>(&id, at)?).into()
            } else {
                // What maps IPv4 stays what it is here: filters know what it means.
                Ipv6Addr::from(array::<16>(&id, at)?).into()
            })
        };
        let port = |at: usize| Some(u16::from_be_bytes(array(&id, at)?));
        Some(Self {
            family,
            cgroup: attribute(body.get(MESSAGE_BYTES..)?, INET_DIAG_CGROUP_ID)
                .and_then(|value| Some(u64::from_ne_bytes(array(value, 0)?))),
            local: SocketAddr::new(address(4)?, port(0)?),
            peer: SocketAddr::new(address(20)?, port(2)?),
            id,
        })
    }
}

/// The value of an attribute (`struct nlattr`) of this type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(array(attributes, 0)?));
        let kind = u16::from_ne_bytes(array(attributes, 2)?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_with_its_attributes() {
        let mut body = vec![IPV4, 1, 0, 0];
        let mut id = [0; ID_BYTES];
        id[..2].copy_from_slice(&80_u16.to_be_bytes());
        id[2..4].copy_from_slice(&4711_u16.to_be_bytes());
        id[4..8].copy_from_slice(&[127, 0, 0, 1]);
        id[20..24].copy_from_slice(&[10, 0, 0, 7]);
        body.extend(id);
        body.resize(MESSAGE_BYTES, 0);
        // One of a byte, filled up, and then the cgroup.
        body.extend([5, 0, 8, 0, 3, 0, 0, 0]);
        body.extend([12, 0, 21, 0]);
        body.extend(4242_u64.to_ne_bytes());
        let connection = Connection::read(&body).unwrap();
        assert_eq!(connection.cgroup, Some(4242));
        assert_eq!(connection.local.to_string(), "127.0.0.1:80");
        assert_eq!(connection.peer.to_string(), "10.0.0.7:4711");
        for length in 0..body.len() {
            // Whatever the kernel cuts off, nothing is made of it.
            let read = Connection::read(&body[..length]);
            assert!(read.is_none_or(|read| read.cgroup.is_none()), "{length}");
        }
    }

    #[test]
    fn messages_follow_each_other() {
        let one = |kind: u8, body: &[u8]| {
            let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
            let mut bytes = Vec::from(length.to_ne_bytes());
            bytes.extend([kind, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let both = [one(20, &[1, 2, 3]), one(3, &(-110_i32).to_ne_bytes())].concat();
        let (kind, sequence, body, rest) = message(&both).unwrap();
        assert_eq!((kind, sequence, body), (20, 9, &[1, 2, 3][..]));
        let (kind, _, body, rest) = message(rest).unwrap();
        assert_eq!(kind, libc::NLMSG_DONE);
        let error = status(body).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
        assert!(message(rest).is_none());
    }
}
