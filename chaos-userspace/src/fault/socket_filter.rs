//! The filters of faults about sockets.

use chaos_common::{CallFilter as KernelFilter, Protocol as KernelProtocol, part};

use super::call_filter::peers;
use crate::experiment::{Protocol, SocketFilter};

/// What a rule's entry is, if the filter asks anything.
pub(super) fn compile(filter: &SocketFilter) -> Option<KernelFilter> {
    let mut out = KernelFilter::default();
    peers(&mut out, &filter.peer, filter.peer_port);
    if let Some(port) = filter.local_port {
        out.parts |= part::LOCAL_PORT;
        out.local_port = port.into();
    }
    if let Some(protocol) = filter.protocol {
        out.parts |= part::PROTOCOL;
        out.protocols = KernelProtocol::bit(match protocol {
            Protocol::Tcp => KernelProtocol::Tcp as u32,
            Protocol::Udp => KernelProtocol::Udp as u32,
        });
    }
    (out.parts != 0).then_some(out)
}
