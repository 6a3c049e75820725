//! What a process asks of a socket, with an address in its hand.

/// The operations, by the numbers under which a [`crate::CallSet`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ConnectOp {
    /// It is connected to somebody.
    Connect = 0,
    /// A datagram is sent to somebody whom it is not connected to.
    Sendmsg = 1,
    /// It is given an address of its own.
    Bind = 2,
}

impl ConnectOp {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Sendmsg, Self::Bind];
}
