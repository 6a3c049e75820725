//! What a rule wants of packets.

use chaos_common::{Address, PacketFilter};

/// A filter with its networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketSpec {
    /// What programs ask first.
    pub filter: PacketFilter,
    /// Where the other end may lie, and where not.
    pub networks: Vec<PeerNetwork>,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerNetwork {
    /// One of them.
    pub address: Address,
    /// So many bits of it count.
    pub prefix: u8,
    /// [`chaos_common::PeerKey::IN`] or [`chaos_common::PeerKey::OUT`]
    pub listed: u32,
}
