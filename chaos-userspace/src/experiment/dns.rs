//! What all faults of DNS have: to which questions the answers are, and from whom.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use chaos_common::{NameKey, dns::TYPES};

use super::{
    DnsAnswer, DnsDelay, Network,
    call_filter::check_list,
    keys::{Key, Type, key},
    net_link::check_delay,
    quantity::parse_duration,
    set::{add, parse_count, put},
    traffic::MAX_PEERS,
    violation::BadValue,
    wording::{guess, quoted},
};

/// Names that one fault can have of each sort.
pub const MAX_NAMES: usize = 1024;

/// Keys that every kind of DNS has in its block.
pub(super) const OF_DNS: &[Key] = &[
    key("names", Type::List, "[db.example.com]"),
    key("exceptNames", Type::List, "[www.example.com]"),
    key("types", Type::List, "[AAAA]"),
    key("peer", Type::List, "[10.0.0.0/8]"),
];

/// Those of `dns.answer`.
pub(super) const OF_DNS_ANSWER: &[Key] = &[
    key("names", Type::List, "[db.example.com]"),
    key("ttl", Type::Count, "5"),
    key("exceptNames", Type::List, "[www.example.com]"),
    key("types", Type::List, "[AAAA]"),
    key("peer", Type::List, "[10.0.0.0/8]"),
];

/// Those of `dns.delay`.
pub(super) const OF_DNS_DELAY: &[Key] = &[
    key("names", Type::List, "[db.example.com]"),
    key("jitter", Type::Text, "50ms"),
    key("exceptNames", Type::List, "[www.example.com]"),
    key("types", Type::List, "[AAAA]"),
    key("peer", Type::List, "[10.0.0.0/8]"),
];

/// Which answers; everything that is set has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsFilter {
    /// The question is about one of these names, at most [`MAX_NAMES`]; none is every name.
    pub names: Vec<DnsName>,
    /// And about none of these, unless a longer one of `names` has it.
    pub except_names: Vec<DnsName>,
    /// It is of one of these types, of which there are at most [`TYPES`]; none is every type.
    pub types: Vec<DnsType>,
    /// The server lies in one of these networks, at most [`MAX_PEERS`]; none is every server.
    pub peer: Vec<Network>,
}

/// A name, or all that end in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName {
    /// Whether it stands for all names below it, and not for itself.
    below: bool,
    /// In small letters, without a dot at its end.
    name: String,
}

impl DnsName {
    /// Longer names do not fit into a key with the length of their first label and their mark.
    pub const MAX_BYTES: usize = NameKey::BYTES - 2;

    /// Whether it stands for all names below it, and not for itself.
    pub(crate) const fn is_below(&self) -> bool {
        self.below
    }

    /// Its labels, the one in front first.
    pub(crate) fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.name.split('.')
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

impl FromStr for DnsName {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |problem: &str, remedy: &str| {
            Err(BadValue::new(
                format!("{} {problem}", quoted(text)),
                remedy.to_owned(),
            ))
        };
        if text == "*" {
            return bad("is every name", "leave names out");
        }
        let (below, name) = text
            .strip_prefix("*.")
            .map_or((false, text), |name| (true, name));
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.contains('*') {
            return bad(
                "has a * that is not its whole first part",
                "say *.example.com for all names below it, or name each",
            );
        }
        if !name.is_ascii() {
            return bad(
                "is not a name as it is asked for",
                "say it as DNS has it: xn--…",
            );
        }
        if name.len() > Self::MAX_BYTES {
            return bad("is too long", "a name has at most 250 bytes here");
        }
        for label in name.split('.') {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if label.is_empty() || label.len() > 63 || !label.bytes().all(good) {
                return bad(
                    "is not a name",
                    "say it as in www.example.com: parts of up to 63 letters, digits, - and _",
                );
            }
        }
        Ok(Self {
            below,
            name: name.to_ascii_lowercase(),
        })
    }
}

/// The addresses that an answer has: one of each family at most, and one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsAddresses {
    /// For questions about addresses of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For questions about addresses of IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl DnsAddresses {
    /// One of those that are for documents (RFC 5737).
    pub(super) const BLANK: Self = Self {
        v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        v6: None,
    };
}

impl fmt::Display for DnsAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.v4, self.v6) {
            (Some(v4), Some(v6)) => write!(f, "{v4}+{v6}"),
            (Some(v4), None) => write!(f, "{v4}"),
            (None, Some(v6)) => write!(f, "{v6}"),
            (None, None) => Ok(()),
        }
    }
}

impl FromStr for DnsAddresses {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let mut addresses = Self { v4: None, v6: None };
        for part in text.split('+') {
            let is_second = match part.parse() {
                Ok(IpAddr::V4(v4)) => addresses.v4.replace(v4).is_some(),
                Ok(IpAddr::V6(v6)) => addresses.v6.replace(v6).is_some(),
                Err(_) => {
                    return Err(BadValue::new(
                        format!("{} is not an address", quoted(part)),
                        "say it as in 10.0.0.7, fd00::7 or 10.0.0.7+fd00::7",
                    ));
                }
            };
            if is_second {
                return Err(BadValue::new(
                    format!("{} has two addresses of one family", quoted(text)),
                    "say one of each at most",
                ));
            }
        }
        Ok(addresses)
    }
}

impl DnsAnswer {
    /// Longer, nobody may remember anything (RFC 2181, 8).
    pub const MAX_TTL: u32 = i32::MAX.unsigned_abs();

    /// Sets one of its keys from a text; `false` when it has no such key.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "answer" => self.answer = text.parse()?,
            "ttl" => {
                let ttl = parse_count(text).ok().and_then(|ttl| ttl.try_into().ok());
                self.ttl = ttl.filter(|ttl| *ttl <= Self::MAX_TTL).ok_or_else(|| {
                    BadValue::new(
                        format!("{} is not such a number of seconds", quoted(text)),
                        format!("say one from 0 to {}", Self::MAX_TTL),
                    )
                })?;
            }
            _ => return self.filter.set(key, text),
        }
        Ok(true)
    }

    /// Its rules, each under the key that has to change.
    pub(super) fn rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let mut rules = self.filter.rules();
        let other = |kind: &&DnsType| !matches!(kind, DnsType::A | DnsType::Aaaa);
        if let Some(other) = self.filter.types.iter().find(other) {
            let bad = BadValue::new(
                format!("an address is no answer to a question of type {other}"),
                "say A or AAAA, or leave it out",
            );
            rules.push(("types", Err(bad)));
        }
        if self.ttl > Self::MAX_TTL {
            let bad = BadValue::new(
                "is too many seconds",
                format!("say at most {}", Self::MAX_TTL),
            );
            rules.push(("ttl", Err(bad)));
        }
        rules
    }
}

impl DnsDelay {
    /// Sets one of its keys from a text; `false` when it has no such key.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "delay" => self.delay = parse_duration(text)?,
            "jitter" => put(&mut self.jitter, parse_duration(text), self.delay)?,
            _ => return self.filter.set(key, text),
        }
        Ok(true)
    }

    /// Its rules, each under the key that has to change.
    pub(super) fn rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let mut rules = self.filter.rules();
        let delay = if self.delay.is_zero() {
            Err(BadValue::new("is zero", "say how long, such as 200ms"))
        } else {
            check_delay(self.delay)
        };
        rules.push(("delay", delay));
        if self.jitter.is_some_and(|jitter| jitter.is_zero()) {
            rules.push(("jitter", Err(BadValue::new("is nothing", "leave it out"))));
        }
        if self.jitter.is_some_and(|jitter| jitter > self.delay) {
            let bad = BadValue::new("is longer than the delay", "say a shorter one");
            rules.push(("jitter", Err(bad)));
        }
        rules
    }
}

/// Enums with a word for each, and a number that programs know.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $number:ident, $what:literal: $($(#[$each:meta])* $value:ident $word:literal = $code:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$each])* $value),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// The word for it in files and fault words.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }

            /// For programs.
            pub(crate) const fn $number(self) -> u32 {
                match self {
                    $(Self::$value => $code),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = BadValue;

            fn from_str(text: &str) -> Result<Self, BadValue> {
                let known = Self::ALL.iter().find(|known| known.name() == text);
                known.copied().ok_or_else(|| {
                    let names: Vec<&str> = Self::ALL.iter().map(|known| known.name()).collect();
                    BadValue::new(
                        format!(concat!("{} is not ", $what), quoted(text)),
                        guess(text, &names),
                    )
                })
            }
        }
    };
}

words!(
    /// The type of a question (IANA's "Resource Record (RR) TYPEs").
    DnsType, number, "a type of questions that is known here":
    /// Addresses of IPv4.
    A "A" = 1,
    /// Addresses of IPv6.
    Aaaa "AAAA" = 28,
    /// The name that another one stands for.
    Cname "CNAME" = 5,
    /// How to reach a service of the web.
    Https "HTTPS" = 65,
    /// Who takes mail.
    Mx "MX" = 15,
    /// Which servers know more.
    Ns "NS" = 2,
    /// The name that belongs to an address.
    Ptr "PTR" = 12,
    /// Where a zone begins.
    Soa "SOA" = 6,
    /// Who offers a service.
    Srv "SRV" = 33,
    /// Texts.
    Txt "TXT" = 16,
);

words!(
    /// What becomes of a question (IANA's "DNS RCODEs"), or of the answer.
    DnsFailure, rcode, "how a question can fail":
    /// There is no such name.
    Nxdomain "nxdomain" = 3,
    /// The server could not find out.
    Servfail "servfail" = 2,
    /// It does not want to.
    Refused "refused" = 5,
    /// It can't.
    Notimp "notimp" = 4,
    /// It did not understand the question.
    Formerr "formerr" = 1,
    /// The answer does not arrive.
    Timeout "timeout" = 0,
);

impl DnsFilter {
    /// Sets one of its keys from a text, which adds to a list; `false` when it has no such key.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "names" => add(&mut self.names, text)?,
            "exceptNames" => add(&mut self.except_names, text)?,
            "types" => add(&mut self.types, text)?,
            "peer" => add(&mut self.peer, text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Its rules, each under the key that has to change.
    pub(super) fn rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let mut rules = vec![
            ("names", check_list(&self.names, MAX_NAMES)),
            ("exceptNames", check_list(&self.except_names, MAX_NAMES)),
            ("types", check_list(&self.types, TYPES)),
            ("peer", check_list(&self.peer, MAX_PEERS)),
        ];
        if let Some(twice) = self
            .names
            .iter()
            .find(|name| self.except_names.contains(name))
        {
            let bad = BadValue::new(
                format!("names {twice}, and so does names"),
                "name it in one of them",
            );
            rules.push(("exceptNames", Err(bad)));
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::word;

    #[test]
    fn words_of_dns() {
        for good in [
            "dns.error=timeout",
            "dns.error:db.example.com+*.internal=nxdomain@50%,when=3",
            "dns.error=servfail,exceptNames=a.example.com,types=A,types=AAAA,peer=10.0.0.0/8,peer=::1",
            "dns.delay=200ms@5%,types=A",
            "dns.delay:a.b=1s,jitter=300ms,peer=10.0.0.1",
            "dns.answer:db.example.com=10.0.0.9",
            "dns.answer=10.0.0.9+fd00::9@1%,ttl=60,exceptNames=*.a,types=AAAA",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        let spelt = word::parse("dns.error:*.Example.COM.=refused").unwrap();
        assert_eq!(word::format(&spelt), "dns.error:*.example.com=refused");
    }

    #[test]
    fn what_is_wrong_is_said_with_a_remedy() {
        let long = format!("dns.error:{}a=refused", "a.".repeat(125));
        for (bad, message) in [
            (
                "dns.error=nxdomian",
                "error: 'nxdomian' is not how a question can fail; did you mean nxdomain?",
            ),
            (
                "dns.error:*=refused",
                "names: '*' is every name; leave names out",
            ),
            (
                "dns.error:*.=refused",
                "names: '*.' is not a name; say it as in www.example.com: parts of up to 63 letters, digits, \
                 - and _",
            ),
            (
                "dns.error:a.*.com=refused",
                "names: 'a.*.com' has a * that is not its whole first part; say *.example.com for all names \
                 below it, or name each",
            ),
            (
                "dns.error:ä.com=refused",
                "names: 'ä.com' is not a name as it is asked for; say it as DNS has it: xn--…",
            ),
            (
                "dns.error:a.com+A.com.=refused",
                "names: 'A.com.' is named twice; name it once",
            ),
            (
                "dns.error:a.com=refused,exceptNames=a.com",
                "exceptNames: names a.com, and so does names; name it in one of them",
            ),
            (
                "dns.error=refused,types=AAA",
                "types: 'AAA' is not a type of questions that is known here; did you mean AAAA?",
            ),
            (
                "dns.error:a.com",
                "error: is missing; write it as in dns.error:*.example.com=nxdomain",
            ),
            (
                "dns.answer:a.com=10.0.0.1,ttl=-1",
                "ttl: '-1' is not such a number of seconds; say one from 0 to 2147483647",
            ),
            (
                "dns.delay:a.com=0s",
                "delay: is zero; say how long, such as 200ms",
            ),
            (
                "dns.delay:a.com=1s,jitter=2s",
                "jitter: is longer than the delay; say a shorter one",
            ),
            (
                "dns.answer:a.com=nowhere",
                "answer: 'nowhere' is not an address; say it as in 10.0.0.7, fd00::7 or 10.0.0.7+fd00::7",
            ),
            (
                "dns.answer:a.com=10.0.0.1+10.0.0.2",
                "answer: '10.0.0.1+10.0.0.2' has two addresses of one family; say one of each at most",
            ),
            (
                "dns.answer:a.com=10.0.0.1,types=MX",
                "types: an address is no answer to a question of type MX; say A or AAAA, or leave it out",
            ),
            (
                "dns.answer:a.com=10.0.0.1,ttl=2147483648",
                "ttl: '2147483648' is not such a number of seconds; say one from 0 to 2147483647",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
        let violations = word::parse(&long).unwrap_err().to_string();
        assert!(violations.contains("at most 250 bytes"), "{violations}");
    }
}
