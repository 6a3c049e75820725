//! Marks the shared types as plain bytes for aya's typed maps.

use crate::{
    AllocationFilter, CallFilter, CallSet, Counters, DnsAnswer, DnsFilter, ExcludeKey, Gate,
    LinkConfig, LinkState, NameKey, Narrowing, PacketFilter, PathFilter, Pause, PeerKey, ReplayKey,
    Room, RuleConfig, RuleList, RuleState, TargetKey, ThreadKey,
};

macro_rules! plain_bytes {
    ($($name:ty),* $(,)?) => {$(
        // SAFETY: repr(C), integers only, no implicit padding (sizes are asserted beside the types).
        unsafe impl aya::Pod for $name {}
    )*};
}
plain_bytes!(
    AllocationFilter,
    CallFilter,
    CallSet,
    Counters,
    DnsAnswer,
    DnsFilter,
    ExcludeKey,
    Gate,
    LinkConfig,
    LinkState,
    NameKey,
    Narrowing,
    PacketFilter,
    PathFilter,
    Pause,
    PeerKey,
    ReplayKey,
    Room,
    RuleConfig,
    RuleList,
    RuleState,
    TargetKey,
    ThreadKey,
);
