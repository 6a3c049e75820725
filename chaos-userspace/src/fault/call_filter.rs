//! The filters of faults about system calls.

use std::net::IpAddr;

use chaos_common::{
    Address, CallFilter as KernelFilter, Network as KernelNetwork, PathFilter as KernelPath, part,
};

use crate::experiment::{CallFilter, FaultKind, Mechanism, Network, PathFilter, SyscallOp};

/// Whether a mechanism can answer the filters of a kind.
///
/// # Errors
/// Which one it can't, and what can.
pub(crate) fn answers(kind: &FaultKind, mechanism: Mechanism) -> Result<(), String> {
    let Some((ops, filter)) = kind.of_calls() else {
        return Ok(());
    };
    if filter.path.is_none() || matches!(mechanism, Mechanism::Lsm | Mechanism::FmodRet) {
        return Ok(());
    }
    // Of a class only calls on descriptors are meant.
    for op in ops {
        if let SyscallOp::Call(call) = op
            && call.is_named_by_hooks()
        {
            return Err(format!(
                "sees of {call} the text that its caller passes, and not which file that is: path \
                 needs lsm or fmod-ret there, or calls on descriptors"
            ));
        }
    }
    Ok(())
}

/// What a rule's entry is, if the filter has more than a path.
pub(super) fn compile(filter: &CallFilter) -> Option<KernelFilter> {
    let mut out = KernelFilter::default();
    for kind in &filter.fd {
        out.parts |= part::FD;
        out.fd_kinds |= kind.bit();
    }
    for flag in &filter.flags {
        out.parts |= part::OPEN_FLAGS;
        out.open_mask |= flag.mask();
        out.open_flags |= flag.value();
    }
    if let Some(size) = filter.min_size {
        out.parts |= part::SIZE;
        out.min_size = size;
    }
    peers(&mut out, &filter.peer, filter.peer_port);
    (out.parts != 0).then_some(out)
}

/// Adds whom the other end has to be.
pub(super) fn peers(out: &mut KernelFilter, peers: &[Network], port: Option<u16>) {
    if let Some(port) = port {
        out.parts |= part::PORT;
        out.port = port.into();
    }
    // Validation has bounded their number.
    for (place, peer) in out.peers.iter_mut().zip(peers) {
        out.parts |= part::PEER;
        out.peers_len += 1;
        *place = network(*peer);
    }
}

/// For programs. Validation has bounded the length, so that a filter is never dropped here.
pub(super) fn path(filter: &PathFilter) -> Option<KernelPath> {
    match filter {
        PathFilter::File(path) => KernelPath::new(path.as_bytes(), KernelPath::FILE),
        PathFilter::Subtree(path) => KernelPath::new(path.as_bytes(), KernelPath::SUBTREE),
    }
}

/// As it lies in memory: bytes in their order on the wire, of IPv4 in the last four.
pub(super) fn network(network: Network) -> KernelNetwork {
    let prefix = u32::from(network.prefix());
    let ones = |most: u32| {
        let beyond = most.saturating_sub(prefix);
        u128::MAX.checked_shl(beyond).unwrap_or(0)
    };
    match network.address() {
        IpAddr::V4(v4) => KernelNetwork {
            address: Address::ipv4(u32::from_ne_bytes(v4.octets())),
            masks: words(ones(32) & u128::from(u32::MAX)),
        },
        IpAddr::V6(v6) => KernelNetwork {
            address: Address {
                family: Address::IPV6,
                words: words(v6.to_bits()),
            },
            masks: words(ones(128)),
        },
    }
}

fn words(bits: u128) -> [u64; 2] {
    let bytes = bits.to_be_bytes();
    let (words, _rest) = bytes.as_chunks();
    [0, 1].map(|index| words.get(index).map_or(0, |word| u64::from_ne_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use chaos_common::{CallFacts, Filtered};

    use super::*;
    use crate::experiment::word;

    fn of(word: &str) -> KernelFilter {
        let fault = word::parse(word).unwrap();
        compile(fault.kind.of_calls().unwrap().1).unwrap()
    }

    fn says(filter: &KernelFilter, peer: Address, port: u32) -> bool {
        let facts = CallFacts {
            known: part::PEER | part::PORT,
            peer,
            port,
            ..CallFacts::default()
        };
        filter.filter(&facts) == Filtered::In
    }

    fn v6(text: &str) -> Address {
        let address: std::net::Ipv6Addr = text.parse().unwrap();
        Address::ipv6(words(address.to_bits()))
    }

    fn v4(bytes: [u8; 4]) -> Address {
        Address::ipv4(u32::from_ne_bytes(bytes))
    }

    #[test]
    fn peers_are_those_of_the_networks_and_the_port() {
        let filter = of("syscall.error:connect=EIO,peer=10.0.0.0/9,peer=fd00::/8,peerPort=443");
        assert!(says(&filter, v4([10, 127, 3, 4]), 443));
        assert!(!says(&filter, v4([10, 128, 3, 4]), 443));
        assert!(!says(&filter, v4([10, 127, 3, 4]), 80));
        assert!(says(&filter, v6("::ffff:10.1.2.3"), 443));
        assert!(says(&filter, v6("fd12::1"), 443));
        assert!(!says(&filter, v6("fe80::1"), 443));
        let all = of("syscall.error:connect=EIO,peer=0.0.0.0/0");
        assert!(says(&all, v4([1, 2, 3, 4]), 1) && !says(&all, v6("::1"), 1));
        let all = of("syscall.error:connect=EIO,peer=::/0");
        assert!(!says(&all, v4([1, 2, 3, 4]), 1) && says(&all, v6("::1"), 1));
        let one = of("syscall.error:connect=EIO,peer=::1");
        assert!(says(&one, v6("::1"), 1) && !says(&one, v6("::2"), 1));
    }

    #[test]
    fn all_flags_have_to_be_there() {
        let filter = of("syscall.error:openat=EIO,flags=O_WRONLY,flags=O_CREAT");
        let says = |flags: i32| {
            let facts = CallFacts {
                known: part::OPEN_FLAGS,
                open_flags: flags.unsigned_abs(),
                ..CallFacts::default()
            };
            filter.filter(&facts) == Filtered::In
        };
        assert!(says(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC));
        assert!(!says(libc::O_WRONLY) && !says(libc::O_RDWR | libc::O_CREAT));
    }

    #[test]
    fn a_text_is_no_file() {
        let answers = |word: &str, mechanism| answers(&word::parse(word).unwrap().kind, mechanism);
        let open = "syscall.error:openat=EIO,path=/data/";
        assert!(answers(open, Mechanism::Lsm).is_ok());
        let said = answers(open, Mechanism::FmodRetSyscall).unwrap_err();
        assert!(said.contains("lsm or fmod-ret"), "{said}");
        let write = "syscall.error:write=EIO,path=/data/";
        for mechanism in [Mechanism::FmodRetSyscall, Mechanism::SeccompNotify] {
            assert!(answers(write, mechanism).is_ok());
        }
    }
}
