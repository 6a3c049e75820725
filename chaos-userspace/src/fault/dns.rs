//! What all faults of DNS have: which answers they are about.

use std::collections::HashMap;

use chaos_common::{DnsFilter as KernelFilter, NameKey, PacketFilter, PeerKey, dns_wants, wants};

use super::{dns_answer, net};
use crate::{
    engine::{DnsSpec, ListedName, PacketSpec},
    experiment::{DnsFilter, DnsName, DnsType, FaultKind, Mechanism},
};

pub(super) const LADDER: &[Mechanism] = &[Mechanism::Tcx];

pub(super) const NOT_COVERED: &[&str] = &[
    "answers that do not come from port 53 (DNS over TLS or HTTPS, multicast DNS, resolvers at other ports), and \
     names that a program finds elsewhere (/etc/hosts, a cache of its own)",
    "of several answers in one segment of TCP all but the first, and answers that begin in the middle of one",
    "processes in the network of their host that ask a service whose address the kernel rewrites (kube-proxy)",
    "sockets that a process brought along when it was moved into the target",
];

/// Which answers a kind of DNS is about.
const fn of(kind: &FaultKind) -> Option<&DnsFilter> {
    match kind {
        FaultKind::DnsAnswer(kind) => Some(&kind.filter),
        FaultKind::DnsDelay(kind) => Some(&kind.filter),
        FaultKind::DnsError(kind) => Some(&kind.filter),
        _ => None,
    }
}

/// What a rule wants of the questions.
pub(super) fn answers(kind: &FaultKind) -> Option<DnsSpec> {
    let filter = of(kind)?;
    let mut out = KernelFilter::default();
    let answer = dns_answer::answer(kind);
    // There is no other answer that has addresses.
    let addresses = [DnsType::A, DnsType::Aaaa];
    let types = match answer {
        Some(_) if filter.types.is_empty() => addresses.as_slice(),
        _ => filter.types.as_slice(),
    };
    for (place, wanted) in out.types.iter_mut().zip(types) {
        *place = wanted.number();
        out.types_len += 1;
    }
    let names = listed(&filter.names, &filter.except_names);
    if !names.is_empty() {
        out.wants |= dns_wants::NAMES;
        if filter.names.is_empty() {
            out.wants |= dns_wants::OTHERS;
        }
    }
    // A link is for all packets.
    let is_more = answer.is_some() || matches!(kind, FaultKind::DnsDelay(_));
    let wants = is_more || out != KernelFilter::default();
    wants.then_some(DnsSpec {
        filter: out,
        names,
        answer,
    })
}

/// And of the servers.
pub(super) fn servers(kind: &FaultKind) -> Option<PacketSpec> {
    let filter = of(kind)?;
    let networks = net::listed(&filter.peer, PeerKey::IN);
    (!networks.is_empty()).then_some(PacketSpec {
        filter: PacketFilter {
            wants: wants::PEER,
            ..PacketFilter::default()
        },
        networks,
    })
}

/// The names as programs look for them: by the longest end that is listed. A name that only stands for those below it
/// has the same end, so it gets an entry of its own that says what it would get without.
fn listed(names: &[DnsName], except_names: &[DnsName]) -> Vec<ListedName> {
    let said: HashMap<(bool, Vec<&str>), u32> =
        [(names, NameKey::IN), (except_names, NameKey::OUT)]
            .into_iter()
            .flat_map(|(names, listed)| names.iter().map(move |name| (name, listed)))
            .map(|(name, listed)| ((name.is_below(), name.labels().collect()), listed))
            .collect();
    let mut out: Vec<ListedName> = said
        .iter()
        .map(|((below, labels), listed)| ListedName::new(labels.iter().copied(), *below, *listed))
        .collect();
    for (below, labels) in said.keys() {
        if *below && !said.contains_key(&(false, labels.clone())) {
            let end =
                (1..labels.len()).find_map(|first| said.get(&(true, labels[first..].to_vec())));
            let listed = end.copied().unwrap_or(NameKey::NEITHER);
            out.push(ListedName::new(labels.iter().copied(), false, listed));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::word;

    fn names(word: &str) -> Vec<ListedName> {
        let spec = answers(&word::parse(word).unwrap().kind).unwrap();
        spec.names
    }

    fn name(text: &str, listed: u32) -> ListedName {
        let below = text.strip_prefix("*.");
        ListedName::new(below.unwrap_or(text).split('.'), below.is_some(), listed)
    }

    #[test]
    fn who_stands_for_those_below_is_not_one_of_them() {
        let found = names("dns.error:*.a.b+*.b+c=refused,exceptNames=*.x.a.b,exceptNames=*.z");
        for wanted in [
            name("*.a.b", NameKey::IN),
            name("a.b", NameKey::IN),
            name("*.b", NameKey::IN),
            name("b", NameKey::NEITHER),
            name("c", NameKey::IN),
            name("*.x.a.b", NameKey::OUT),
            name("x.a.b", NameKey::IN),
            name("*.z", NameKey::OUT),
            name("z", NameKey::NEITHER),
        ] {
            assert!(found.contains(&wanted), "{wanted:?} of {found:?}");
        }
        assert_eq!(found.len(), 9);
    }

    #[test]
    fn nothing_is_asked_of_all_answers() {
        let kind = word::parse("dns.error=refused").unwrap().kind;
        assert_eq!((answers(&kind), servers(&kind)), (None, None));
        let kind = word::parse("dns.error=refused,types=A,exceptNames=a.b,peer=10.0.0.1")
            .unwrap()
            .kind;
        let filter = answers(&kind).unwrap().filter;
        assert_eq!((filter.types_len, filter.types[0]), (1, 1));
        assert_eq!(filter.wants, dns_wants::NAMES | dns_wants::OTHERS);
        assert_eq!(servers(&kind).unwrap().networks.len(), 1);
    }
}
