//! Connections of TCP as the kernel's `sock_diag(7)` knows them: those that there are, and their end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::netlink::{ACKNOWLEDGE, LIST, Netlink, array, attribute};

/// `include/uapi/linux/sock_diag.h`
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// `include/uapi/linux/inet_diag.h`, since Linux 5.9
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `include/net/tcp_states.h`: connections that their program can still send on.
const TCP_ESTABLISHED: u32 = 1;
const TCP_CLOSE_WAIT: u32 = 8;
const STATES: u32 = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT;

/// `struct inet_diag_sockid`, `struct inet_diag_msg`
const ID_BYTES: usize = 48;
const MESSAGE_BYTES: usize = 72;
/// Where the id begins in the latter.
const ID_AT: usize = 4;

/// Families, and the protocol, as one byte each (`AF_INET`, `AF_INET6`, `IPPROTO_TCP`).
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TCP: u8 = 6;

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
    netlink: Netlink,
}

impl Diag {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::open(libc::NETLINK_SOCK_DIAG)?,
        })
    }

    /// All connections of the namespace, by IPv4 and by IPv6.
    pub(super) fn connections(&mut self) -> io::Result<Vec<Connection>> {
        let mut found = Vec::new();
        for family in [IPV4, IPV6] {
            let request = request(family, &[0; ID_BYTES]);
            self.netlink
                .ask(SOCK_DIAG_BY_FAMILY, LIST, &request, |body| {
                    found.extend(Connection::read(body));
                })?;
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
        let request = request(family, id);
        match self.netlink.tell(SOCK_DESTROY, ACKNOWLEDGE, &request) {
            Ok(()) => Ok(Destroyed::Now),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Destroyed::Before),
            Err(error) => Err(error),
        }
    }
}

/// A `struct inet_diag_req_v2`.
fn request(family: u8, id: &[u8; ID_BYTES]) -> Vec<u8> {
    let mut request = vec![family, TCP, 0, 0];
    request.extend(STATES.to_ne_bytes());
    request.extend(id);
    request
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
}
