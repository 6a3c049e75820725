//! Who gets an answer of a DNS server.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release};
use chaos_common::{Address, PacketFacts};

use super::ANSWERS;
use crate::{
    cgroup,
    kernel::{OFF_SOCK_CGROUP, read},
    packet::load,
    subject::{By, Packet, Subject},
};

/// In the namespace of the device (`BPF_F_CURRENT_NETNS`).
const HERE: u64 = u64::MAX;

/// Who gets the answer that was learnt of last: by the cgroup of its socket. Nobody, where there is none.
#[derive(Clone, Copy)]
pub struct Receiver<'a>(pub Packet<'a>);

impl Subject for Receiver<'_> {
    const TASK: bool = false;

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        cgroup::id(address())
    }

    #[inline(always)]
    fn ancestor(&self, depth: u32) -> u64 {
        cgroup::ancestor(address(), depth)
    }

    /// Not the packet's own socket, which can still be its sender's.
    #[inline(always)]
    fn describe(&self, detail: u64) -> By {
        By {
            cgroup: self.cgroup(),
            ..self.0.describe(detail)
        }
    }

    #[inline(always)]
    unsafe fn head(&self, place: *mut c_void) {
        // SAFETY: the caller has made room.
        unsafe { self.0.head(place) };
    }
}

/// The address of the cgroup.
#[inline(always)]
fn address() -> u64 {
    // SAFETY: a map's value.
    ANSWERS.get_ptr(0).map_or(0, |answer| unsafe {
        (&raw const (*answer).cgroup).read_volatile()
    })
}

/// Looks up who gets the answer that was learnt of last; whether there is a socket for it here. The packet is not given
/// the socket: whoever forwards it, or keeps it waiting, would do wrong by that.
#[inline(always)]
pub fn find_receiver(packet: &Packet<'_>, facts: &PacketFacts) -> bool {
    look_up(packet, facts).is_some()
}

#[inline(always)]
fn look_up(packet: &Packet<'_>, facts: &PacketFacts) -> Option<()> {
    let [ports]: [u32; 1] = load(packet, facts.transport)?;
    if facts.peer.family == Address::IPV4 {
        let [source, destination]: [u32; 2] = load(packet, 12)?;
        find(packet, facts.proto, [source, destination, ports])
    } else {
        let ends: [u32; 8] = load(packet, 8)?;
        let tuple = [
            ends[0], ends[1], ends[2], ends[3], ends[4], ends[5], ends[6], ends[7], ports,
        ];
        find(packet, facts.proto, tuple)
    }
}

/// The tuple is as `struct bpf_sock_tuple` has it: addresses and ports as on the wire.
#[inline(always)]
fn find<const N: usize>(packet: &Packet<'_>, proto: u32, mut tuple: [u32; N]) -> Option<()> {
    let answer = ANSWERS.get_ptr_mut(0)?;
    let skb = packet.0.skb.cast::<c_void>();
    let place = tuple.as_mut_ptr().cast();
    let size = size_of::<[u32; N]>() as u32;
    // SAFETY: the program's own context and its own tuple; what was found is given back; a map's value; reads are
    // checked by a helper.
    unsafe {
        let socket = if proto == PacketFacts::TCP {
            bpf_sk_lookup_tcp(skb, place, size, HERE, 0)
        } else {
            bpf_sk_lookup_udp(skb, place, size, HERE, 0)
        };
        if socket.is_null() {
            return None;
        }
        // By way of memory: the verifier lets nobody count with such a pointer. No helper tells programs on devices the
        // cgroup of a socket that is not the packet's (tc_cls_act_func_proto, net/core/filter.c).
        let word = &raw mut (*answer).cgroup;
        word.write_volatile(socket as u64);
        let address = word.read_volatile();
        let cgroup = read::<u64>(address, &OFF_SOCK_CGROUP).unwrap_or(0);
        word.write_volatile(cgroup);
        bpf_sk_release(socket.cast());
    }
    Some(())
}
