//! The filters of system calls, in both directions.

use super::from_wire::Reader;
use crate::{
    api::proto,
    experiment::{BadValue, CallFilter, PathFilter, Violation},
};

impl From<&CallFilter> for proto::CallFilter {
    fn from(filter: &CallFilter) -> Self {
        let path = filter.path.as_ref().map(PathFilter::as_str);
        Self {
            fd: filter.fd.iter().map(ToString::to_string).collect(),
            path: path.unwrap_or_default().to_owned(),
            peer: filter.peer.iter().map(ToString::to_string).collect(),
            peer_port: filter.peer_port.map(Into::into),
            flags: filter.flags.iter().map(ToString::to_string).collect(),
            min_size: filter.min_size,
        }
    }
}

impl Reader {
    pub(super) fn call_filter(
        &mut self,
        field: &str,
        wire: Option<&proto::CallFilter>,
    ) -> CallFilter {
        let Some(wire) = wire else {
            return CallFilter::default();
        };
        CallFilter {
            fd: self.each(field, "fd", &wire.fd),
            path: match wire.path.as_str() {
                "" => None,
                path if path.ends_with('/') => Some(PathFilter::Subtree(path.to_owned())),
                path => Some(PathFilter::File(path.to_owned())),
            },
            peer: self.each(field, "peer", &wire.peer),
            // Validation refuses 0.
            peer_port: wire.peer_port.map(|port| port.try_into().unwrap_or(0)),
            flags: self.each(field, "flags", &wire.flags),
            min_size: wire.min_size,
        }
    }

    /// A list of words.
    pub(super) fn each<T: std::str::FromStr<Err = BadValue>>(
        &mut self,
        field: &str,
        key: &str,
        texts: &[String],
    ) -> Vec<T> {
        let mut items = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(item) => items.push(item),
                Err(bad) => self
                    .found
                    .push(Violation::of(format!("{field}.{key}"), bad)),
            }
        }
        items
    }
}
