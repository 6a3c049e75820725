//! `net.reset`: its keys, and its rules.

use super::{NetReset, violation::BadValue};

impl NetReset {
    /// Sets a key, if it is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "share" => self.share = text.parse()?,
            "peer" | "peerPort" | "localPort" => return self.filter.set(key, text),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it has to keep, key by key.
    pub(super) fn rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let mut rules = self.filter.rules().to_vec();
        if self.filter.protocol.is_some() {
            let bad = BadValue::new("is about connections of TCP alone", "leave it out");
            rules.push(("proto", Err(bad)));
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::word;

    #[test]
    fn words_of_resets() {
        for good in [
            "net.reset=100%",
            "net.reset=50%,peer=10.0.0.0/8,peer=::1,peerPort=5432,times=1",
            "net.reset=100%,localPort=80,exclude=/a/b,pulse=1s/10s",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        for (bad, message) in [
            (
                "net.reset",
                "share: is missing; write it as in net.reset=100%,peerPort=5432",
            ),
            (
                "net.reset=100%,proto=udp",
                "proto: net.reset has no such key; it has peer, peerPort, localPort, when, times, \
                 maxRate, replay, exclude, seed, shadow, mechanism, after, duration and pulse",
            ),
            (
                "net.reset=100%@5%",
                "probability: net.reset has none: its effect is the share; \
                 leave it out and say the share alone",
            ),
            (
                "net.reset=100%,comm=nginx",
                "comm: net.reset has none: connections belong to no task; \
                 leave it out, or make the processes in question a target of their own",
            ),
            (
                "net.reset=100%,localPort=65536",
                "localPort: '65536' is not a port; say a number from 1 to 65535",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }
}
