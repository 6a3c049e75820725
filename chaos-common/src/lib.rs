//! What kchaos' BPF programs and its user space share.
//!
//! Two Rust compilers build this crate, one for the BPF target and one for the host, and the layout
//! of `repr(Rust)` types may differ between them. So everything that crosses the boundary is
//! `repr(C)` with fixed-width integers and explicit padding, and its size is asserted here.

#![no_std]
#![deny(missing_docs)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]

pub mod allocation;
pub mod arguments;
pub mod call_filter;
pub mod compat;
pub mod connect;
pub mod decision;
pub mod disk;
pub mod dns;
pub mod event;
pub mod file_event;
pub mod filter;
pub mod limits;
pub mod link;
pub mod packet;
pub mod pause;
#[cfg(feature = "user")]
mod plain;
pub mod remembered;
pub mod rule;

pub use allocation::{AllocationFilter, GfpClass};
pub use call_filter::{Address, CallFacts, CallFilter, FdKind, Network, Protocol, part};
pub use connect::ConnectOp;
pub use decision::{Decision, Filtered, RuleMemory, decide, roll};
pub use disk::DiskOp;
pub use dns::{DnsAnswer, DnsFilter, NameKey, dns_wants};
pub use event::{Event, Stack};
pub use file_event::FileEvent;
pub use filter::{CallSet, CommFilter, ExcludeKey, Narrowing, PathFilter, ReplayKey, ThreadKey};
pub use link::{LinkConfig, LinkMemory, LinkState, Passage, Stream, Travel, travel};
pub use packet::{PacketFacts, PacketFilter, PeerKey, wants};
pub use pause::{Pause, PauseRequest};
pub use rule::{
    Counters, Gate, Hook, NO_DEPTH, NO_PLACE, NO_SLOT, Room, RuleConfig, RuleList, RuleState,
    TargetKey, flags,
};
