//! netlink(7): requests to the kernel about its sockets and network devices, and what it answers.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// Flags of a request: that an acknowledgement answers it (`NLM_F_REQUEST | NLM_F_ACK`), or a list (`NLM_F_DUMP`).
pub(crate) const ACKNOWLEDGE: u16 = 0x005;
/// See [`ACKNOWLEDGE`].
pub(crate) const LIST: u16 = 0x301;
/// That a thing is made that must not be there yet (`NLM_F_CREATE | NLM_F_EXCL`), beside [`ACKNOWLEDGE`].
pub(crate) const NEW: u16 = 0x600 | ACKNOWLEDGE;

/// `struct nlmsghdr`
const HEADER_BYTES: usize = 16;
/// `struct nlattr`
const ATTRIBUTE_BYTES: usize = 4;

/// A socket to ask with, in the network namespace of the thread that has opened it.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// `protocol` is one of `NETLINK_*`.
    pub(crate) fn open(protocol: libc::c_int) -> io::Result<Self> {
        // SAFETY: takes integers.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                protocol,
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

    /// Sends a request, and hands over the bodies of what answers it, until the kernel says that this was all.
    pub(crate) fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.send(kind, flags, body)?;
        self.receive(each)
    }

    /// The same of a request that is answered by an acknowledgement alone.
    pub(crate) fn tell(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.ask(kind, flags, body, |_| {})
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let length = u32::try_from(HEADER_BYTES + body.len()).map_err(io::Error::other)?;
        let mut message = Vec::from(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
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

/// The body of a request: a structure, then its attributes.
#[derive(Debug)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    /// Begins with a structure of the kernel's; its size is a multiple of 4.
    pub(crate) fn new(structure: &[u8]) -> Self {
        Self(structure.to_vec())
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value.len(), |bytes| bytes.extend(value));
        self
    }

    /// Adds a text, with the zero that ends it.
    pub(crate) fn with_text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.with(kind, &bytes)
    }

    /// Adds an attribute that is made of attributes.
    pub(crate) fn with_nested(self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let Self(inner) = inner(Self(Vec::new()));
        self.with(kind, &inner)
    }

    fn push(&mut self, kind: u16, length: usize, value: impl FnOnce(&mut Vec<u8>)) {
        // No request here comes near that.
        let length = u16::try_from(ATTRIBUTE_BYTES + length).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        value(&mut self.0);
        let filled = self.0.len().next_multiple_of(4);
        self.0.resize(filled, 0);
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The value of an attribute (`struct nlattr`) of this type.
pub(crate) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(array(attributes, 0)?));
        // Without the bits that say that it is nested, or in the order of bytes of the network (`NLA_TYPE_MASK`).
        let kind = u16::from_ne_bytes(array(attributes, 2)?) & 0x3fff;
        let value = attributes.get(ATTRIBUTE_BYTES..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// So many bytes from a place on.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn attributes_are_written_as_they_are_read() {
        let body = Body::new(&[1, 2, 3, 4])
            .with_text(3, "ifb")
            .with_nested(18, |inner| {
                inner.with(1, &[7]).with(2, &9_u32.to_ne_bytes())
            });
        let attributes = &body.bytes()[4..];
        assert_eq!(attribute(attributes, 3), Some(&b"ifb\0"[..]));
        let inner = attribute(attributes, 18).unwrap();
        assert_eq!(attribute(inner, 1), Some(&[7][..]));
        assert_eq!(attribute(inner, 2), Some(&9_u32.to_ne_bytes()[..]));
        assert_eq!(attribute(attributes, 4), None);
        for length in 0..attributes.len() {
            // Whatever the kernel cuts off, nothing is made of it.
            assert_eq!(attribute(&attributes[..length], 18), None, "{length}");
        }
    }
}
