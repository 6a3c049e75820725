//! Faults of DNS, in both directions.

use super::{checks::same, from_wire::Reader, wire_duration};
use crate::{
    api::proto,
    experiment::{
        DnsAddresses, DnsAnswer, DnsDelay, DnsError, DnsFailure, DnsFilter, DnsName, Violation,
    },
};

same!(DnsFailure: Nxdomain, Servfail, Refused, Notimp, Formerr, Timeout);

impl From<&DnsError> for proto::DnsError {
    fn from(kind: &DnsError) -> Self {
        Self {
            error: proto::DnsFailure::from(kind.error).into(),
            filter: Some((&kind.filter).into()),
        }
    }
}

impl From<&DnsAnswer> for proto::DnsAnswer {
    fn from(kind: &DnsAnswer) -> Self {
        let DnsAddresses { v4, v6 } = kind.answer;
        let v4 = v4.map(|address| address.to_string());
        Self {
            answer: v4
                .into_iter()
                .chain(v6.map(|address| address.to_string()))
                .collect(),
            ttl: kind.ttl,
            filter: Some((&kind.filter).into()),
        }
    }
}

impl From<&DnsDelay> for proto::DnsDelay {
    fn from(kind: &DnsDelay) -> Self {
        Self {
            delay: Some(wire_duration(kind.delay)),
            jitter: kind.jitter.map(wire_duration),
            filter: Some((&kind.filter).into()),
        }
    }
}

impl From<&DnsFilter> for proto::DnsFilter {
    fn from(filter: &DnsFilter) -> Self {
        let texts = |names: &[DnsName]| names.iter().map(ToString::to_string).collect();
        Self {
            names: texts(&filter.names),
            except_names: texts(&filter.except_names),
            types: filter.types.iter().map(ToString::to_string).collect(),
            peer: filter.peer.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Reader {
    pub(super) fn dns_error(&mut self, field: &str, wire: &proto::DnsError) -> DnsError {
        let error = match proto::DnsFailure::try_from(wire.error).map(Into::into) {
            Ok(Some(error)) => error,
            Ok(None) => {
                self.bad(&format!("{field}.error"), "is missing");
                DnsFailure::Nxdomain
            }
            Err(_unknown) => {
                let problem = format!("{} is not in this version", wire.error);
                self.bad(&format!("{field}.error"), problem);
                DnsFailure::Nxdomain
            }
        };
        DnsError {
            error,
            filter: self.dns_filter(field, wire.filter.as_ref()),
        }
    }

    pub(super) fn dns_answer(&mut self, field: &str, wire: &proto::DnsAnswer) -> DnsAnswer {
        // The same as in a file, where an empty one is no address.
        let answer = wire.answer.join("+").parse().unwrap_or_else(|bad| {
            self.found
                .push(Violation::of(format!("{field}.answer"), bad));
            DnsAddresses { v4: None, v6: None }
        });
        DnsAnswer {
            answer,
            ttl: wire.ttl,
            filter: self.dns_filter(field, wire.filter.as_ref()),
        }
    }

    pub(super) fn dns_delay(&mut self, field: &str, wire: &proto::DnsDelay) -> DnsDelay {
        DnsDelay {
            // Validation refuses none.
            delay: self
                .duration(&format!("{field}.delay"), wire.delay)
                .unwrap_or_default(),
            jitter: self.duration(&format!("{field}.jitter"), wire.jitter),
            filter: self.dns_filter(field, wire.filter.as_ref()),
        }
    }

    fn dns_filter(&mut self, field: &str, wire: Option<&proto::DnsFilter>) -> DnsFilter {
        let Some(wire) = wire else {
            return DnsFilter::default();
        };
        DnsFilter {
            names: self.each(field, "names", &wire.names),
            except_names: self.each(field, "exceptNames", &wire.except_names),
            types: self.each(field, "types", &wire.types),
            peer: self.each(field, "peer", &wire.peer),
        }
    }
}
