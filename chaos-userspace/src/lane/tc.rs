//! What tc(8) and ip(8) ask the kernel for, in the network namespace of the thread that asks.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use crate::netlink::{ACKNOWLEDGE, Body, LIST, NEW, Netlink, array, attribute};

/// `include/uapi/linux/rtnetlink.h`
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;

/// `include/uapi/linux/if_link.h`; `IFLA_INET6_ADDR_GEN_MODE` and its "none".
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INFO_KIND: u16 = 1;
const INET6: u16 = 10;
const ADDRESSES: u16 = 8;
const NO_ADDRESSES: u8 = 1;
/// `IFF_UP`
const UP: u32 = 1;

/// `include/uapi/linux/pkt_sched.h`
const ROOT: u32 = 0xffff_ffff;
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const TCA_FQ_PLIMIT: u16 = 1;
const TCA_FQ_FLOW_PLIMIT: u16 = 2;
const TCA_FQ_RATE_ENABLE: u16 = 5;
const TCA_FQ_ORPHAN_MASK: u16 = 10;
const TCA_FQ_TIMER_SLACK: u16 = 13;
const TCA_FQ_HORIZON: u16 = 14;
const TCA_FQ_HORIZON_DROP: u16 = 15;

/// `include/uapi/linux/pkt_cls.h`, `tc_act/tc_mirred.h`
const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const DIRECT: u32 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
/// `TCA_MIRRED_PARMS`, and `TCA_GACT_PARMS`.
const PARAMETERS: u16 = 2;
const OK: u32 = 0;
const STOLEN: u32 = 4;
const EGRESS_REDIRECT: u32 = 1;
/// `ETH_P_ALL`
const ALL_PROTOCOLS: u16 = 3;

/// `TCA_STATS_QUEUE`, which begins with how many packets there are (`include/uapi/linux/gen_stats.h`).
const STATS_QUEUE: u16 = 3;

/// `struct tcmsg`
const TC_BYTES: usize = 20;

/// Packets in the queue, of all flows and of one. They are on nobody's account, so this bounds what they take of
/// the kernel's memory; what finds no place is lost.
const PACKETS: u32 = 10_000;

/// Each packet is a flow of its own: those of one flow go in the order in which it woke up (`fq_dequeue`), and a
/// packet that is due would wait for one that is not.
const EACH_BY_ITSELF: u32 = u32::MAX;

/// How long a packet may wait, in microseconds: longer than any of ours. What would wait longer does not.
const HORIZON_US: u32 = 600_000_000;

/// Which way packets go by a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// They arrive.
    In,
    /// They leave.
    Out,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::In, Self::Out];

    /// `TC_H_MIN_INGRESS`, `TC_H_MIN_EGRESS`
    const fn parent(self) -> u32 {
        match self {
            Self::In => 0xffff_fff2,
            Self::Out => 0xffff_fff3,
        }
    }
}

/// Where among the filters of a device one of ours stands. Filters of one priority must be of one kind: where
/// somebody else's first ones are of another, ours come later.
const PRIORITIES: [u32; 2] = [1, 0xbfff];
/// Behind everybody else's.
const LAST: [u32; 1] = [0xffff];

/// What stands on a device where packets are filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hooks {
    /// Nothing.
    None,
    /// `clsact`, which has room for everybody's filters.
    Clsact,
    /// Something else, such as `ingress`, beside which there can be no `clsact`.
    Other(String),
}

/// The namespace's devices, queues and filters.
#[derive(Debug)]
pub(super) struct Tc(Netlink);

impl Tc {
    pub(super) fn open() -> io::Result<Self> {
        Netlink::open(libc::NETLINK_ROUTE).map(Self)
    }

    /// `ip link add NAME up type ifb`, without addresses.
    pub(super) fn add_device(&mut self, name: &str) -> io::Result<()> {
        let body = Body::new(&interface(0, UP))
            .with_text(IFLA_IFNAME, name)
            .with_nested(IFLA_LINKINFO, |info| info.with(IFLA_INFO_KIND, b"ifb"))
            .with_nested(IFLA_AF_SPEC, |families| {
                families.with_nested(INET6, |ipv6| ipv6.with(ADDRESSES, &[NO_ADDRESSES]))
            });
        match self.0.tell(RTM_NEWLINK, NEW, body.bytes()) {
            // A kernel without IPv6 has no such family.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                let body = Body::new(&interface(0, UP))
                    .with_text(IFLA_IFNAME, name)
                    .with_nested(IFLA_LINKINFO, |info| info.with(IFLA_INFO_KIND, b"ifb"));
                self.0.tell(RTM_NEWLINK, NEW, body.bytes())
            }
            other => other,
        }
    }

    /// `ip link del`; whether it was there.
    pub(super) fn remove_device(&mut self, device: u32) -> io::Result<bool> {
        let body = Body::new(&interface(device, 0));
        was_there(self.0.tell(RTM_DELLINK, ACKNOWLEDGE, body.bytes()))
    }

    /// `tc qdisc add dev DEVICE root fq`: packets go at the time of their stamp, whoever they are of.
    pub(super) fn add_queue(&mut self, device: u32) -> io::Result<()> {
        let body = Body::new(&tc(device, 0, ROOT, 0))
            .with_text(TCA_KIND, "fq")
            .with_nested(TCA_OPTIONS, |fq| {
                fq.with(TCA_FQ_PLIMIT, &PACKETS.to_ne_bytes())
                    .with(TCA_FQ_FLOW_PLIMIT, &PACKETS.to_ne_bytes())
                    .with(TCA_FQ_RATE_ENABLE, &0_u32.to_ne_bytes())
                    .with(TCA_FQ_ORPHAN_MASK, &EACH_BY_ITSELF.to_ne_bytes())
                    .with(TCA_FQ_TIMER_SLACK, &0_u32.to_ne_bytes())
                    .with(TCA_FQ_HORIZON, &HORIZON_US.to_ne_bytes())
                    .with(TCA_FQ_HORIZON_DROP, &[0])
            });
        self.0.tell(RTM_NEWQDISC, NEW, body.bytes())
    }

    /// How many packets wait in the queue of a device.
    pub(super) fn waiting(&mut self, device: u32) -> io::Result<u32> {
        let mut waiting = 0;
        let body = Body::new(&tc(device, 0, 0, 0));
        self.0.ask(RTM_GETQDISC, LIST, body.bytes(), |answer| {
            let found = (|| {
                let of = u32::from_ne_bytes(array(answer, 4)?);
                let attributes = answer.get(TC_BYTES..)?;
                let queue = attribute(attribute(attributes, TCA_STATS2)?, STATS_QUEUE)?;
                (of == device).then_some(u32::from_ne_bytes(array(queue, 0)?))
            })();
            waiting += found.unwrap_or(0);
        })?;
        Ok(waiting)
    }

    /// What there is for filters on a device.
    pub(super) fn hooks(&mut self, device: u32) -> io::Result<Hooks> {
        let mut found = Hooks::None;
        let body = Body::new(&tc(device, 0, 0, 0));
        self.0.ask(RTM_GETQDISC, LIST, body.bytes(), |answer| {
            let kind = (|| {
                let of = u32::from_ne_bytes(array(answer, 4)?);
                let parent = u32::from_ne_bytes(array(answer, 12)?);
                let kind = attribute(answer.get(TC_BYTES..)?, TCA_KIND)?;
                (of == device && parent == CLSACT).then(|| text(kind))
            })();
            match kind.as_deref() {
                Some("clsact") => found = Hooks::Clsact,
                Some(other) => found = Hooks::Other(other.to_owned()),
                None => {}
            }
        })?;
        Ok(found)
    }

    /// `tc qdisc add dev DEVICE clsact`; whether it was not there before.
    pub(super) fn add_hooks(&mut self, device: u32) -> io::Result<bool> {
        let body = Body::new(&tc(device, CLSACT_HANDLE, CLSACT, 0)).with_text(TCA_KIND, "clsact");
        match self.0.tell(RTM_NEWQDISC, NEW, body.bytes()) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `tc qdisc del dev DEVICE clsact`, if nobody has a filter there; whether it is gone.
    pub(super) fn remove_hooks(&mut self, device: u32) -> io::Result<bool> {
        if self.hooks(device)? != Hooks::Clsact {
            return Ok(false);
        }
        for side in Side::BOTH {
            if !self.filters(device, side)?.is_empty() {
                return Ok(false);
            }
        }
        let body = Body::new(&tc(device, CLSACT_HANDLE, CLSACT, 0)).with_text(TCA_KIND, "clsact");
        was_there(self.0.tell(RTM_DELQDISC, ACKNOWLEDGE, body.bytes()))
    }

    /// The filters of a side of a device, whoever's they are.
    fn filters(&mut self, device: u32, side: Side) -> io::Result<Vec<Filter>> {
        let mut found = Vec::new();
        let body = Body::new(&tc(device, 0, side.parent(), 0));
        let asked = self.0.ask(RTM_GETTFILTER, LIST, body.bytes(), |answer| {
            found.extend((|| {
                let attributes = answer.get(TC_BYTES..)?;
                let name = attribute(attributes, TCA_OPTIONS)
                    .and_then(|options| attribute(options, TCA_BPF_NAME))
                    .map(text);
                Some(Filter {
                    handle: u32::from_ne_bytes(array(answer, 8)?),
                    info: u32::from_ne_bytes(array(answer, 16)?),
                    name: name.unwrap_or_default(),
                })
            })());
        });
        was_there(asked)?;
        Ok(found)
    }

    /// A filter that takes what its program picks to another device.
    pub(super) fn add_picker(
        &mut self,
        device: u32,
        side: Side,
        name: &str,
        program: BorrowedFd<'_>,
        to: u32,
    ) -> io::Result<()> {
        let mut mirred = [0_u8; 28];
        mirred[8..12].copy_from_slice(&STOLEN.to_ne_bytes());
        mirred[20..24].copy_from_slice(&EGRESS_REDIRECT.to_ne_bytes());
        mirred[24..28].copy_from_slice(&to.to_ne_bytes());
        self.add_filter(device, side, (name, &PRIORITIES), program, |options| {
            with_action(options, "mirred", &mirred)
        })
    }

    /// A filter behind all others whose action lets pass what its program picks, and does nothing else.
    pub(super) fn add_passer(
        &mut self,
        device: u32,
        name: &str,
        program: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut pass = [0_u8; 20];
        pass[8..12].copy_from_slice(&OK.to_ne_bytes());
        self.add_filter(device, Side::Out, (name, &LAST), program, |options| {
            with_action(options, "gact", &pass)
        })
    }

    /// A filter whose program says itself what becomes of a packet that leaves.
    pub(super) fn add_shaper(
        &mut self,
        device: u32,
        name: &str,
        program: BorrowedFd<'_>,
    ) -> io::Result<()> {
        self.add_filter(device, Side::Out, (name, &PRIORITIES), program, |options| {
            options.with(TCA_BPF_FLAGS, &DIRECT.to_ne_bytes())
        })
    }

    fn add_filter(
        &mut self,
        device: u32,
        side: Side,
        (name, priorities): (&str, &[u32]),
        program: BorrowedFd<'_>,
        more: impl Fn(Body) -> Body,
    ) -> io::Result<()> {
        let fd = program.as_raw_fd().cast_unsigned();
        let mut result = Ok(());
        for priority in priorities {
            // The kernel draws a handle that nobody has.
            let body = Body::new(&tc(device, 0, side.parent(), info(*priority)))
                .with_text(TCA_KIND, "bpf")
                .with_nested(TCA_OPTIONS, |options| {
                    more(
                        options
                            .with(TCA_BPF_FD, &fd.to_ne_bytes())
                            .with_text(TCA_BPF_NAME, name),
                    )
                });
            result = self.0.tell(RTM_NEWTFILTER, NEW, body.bytes());
            match &result {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                _ => break,
            }
        }
        result
    }

    /// Takes the filters of this name away, and nobody else's.
    pub(super) fn remove_filters(&mut self, device: u32, side: Side, name: &str) -> io::Result<()> {
        for filter in self.filters(device, side)? {
            if filter.name == name && filter.handle != 0 {
                let body = Body::new(&tc(device, filter.handle, side.parent(), filter.info))
                    .with_text(TCA_KIND, "bpf");
                was_there(self.0.tell(RTM_DELTFILTER, ACKNOWLEDGE, body.bytes()))?;
            }
        }
        Ok(())
    }
}

/// Somebody's filter, as a list has it.
#[derive(Debug)]
struct Filter {
    handle: u32,
    /// Priority and protocol.
    info: u32,
    /// Of a program; empty for other kinds.
    name: String,
}

/// The one action of a filter.
fn with_action(options: Body, kind: &str, parameters: &[u8]) -> Body {
    options.with_nested(TCA_BPF_ACT, |actions| {
        actions.with_nested(1, |action| {
            action
                .with_text(TCA_ACT_KIND, kind)
                .with_nested(TCA_ACT_OPTIONS, |options| {
                    options.with(PARAMETERS, parameters)
                })
        })
    })
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// `struct ifinfomsg`
fn interface(device: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&device.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// `struct tcmsg`
fn tc(device: u32, handle: u32, parent: u32, info: u32) -> [u8; TC_BYTES] {
    let mut bytes = [0; TC_BYTES];
    for (index, word) in [device, handle, parent, info].into_iter().enumerate() {
        let at = 4 + index * 4;
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn info(priority: u32) -> u32 {
    priority << 16 | u32::from(ALL_PROTOCOLS.to_be())
}

/// Of what was to be taken away, or listed. A device without hooks has none of ours, nor has one that shares its
/// filters with others (`EOPNOTSUPP`).
fn was_there(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP) => Ok(false),
            _ => Err(error),
        },
    }
}
