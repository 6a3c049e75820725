//! Filters of system calls: what a call has to be about for a fault to hit it.

use std::{fmt, net::IpAddr, str::FromStr};

use chaos_common::{FdKind as Kind, arguments, limits::PEERS};

use super::{
    PathFilter, Syscall, SyscallOp,
    quantity::ByteSize,
    set::{add, parse_count},
    violation::BadValue,
    wording::{all_of, guess, quoted},
};

/// What a fault wants of a system call beyond its name; everything that is set has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// The first argument is a descriptor of one of these kinds.
    pub fd: Vec<FdKind>,
    /// The file behind the first argument, or that the call names, is at this path.
    pub path: Option<PathFilter>,
    /// The other end lies in one of these networks.
    pub peer: Vec<Network>,
    /// It has this port.
    pub peer_port: Option<u16>,
    /// An open with all of these flags.
    pub flags: Vec<OpenFlag>,
    /// For at least so many bytes.
    pub min_size: Option<u64>,
}

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdKind(Kind);

impl FdKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Kind::ALL.into_iter().map(Self)
    }

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Regular => "regular",
            Kind::Dir => "dir",
            Kind::Socket => "socket",
            Kind::Pipe => "pipe",
            Kind::Device => "device",
            Kind::Anon => "anon",
        }
    }

    /// Its bit for programs.
    pub(crate) const fn bit(self) -> u32 {
        self.0.bit()
    }
}

/// A flag of open(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlag {
    name: &'static str,
    mask: i32,
    value: i32,
}

const fn flag(name: &'static str, bits: i32) -> OpenFlag {
    OpenFlag {
        name,
        mask: bits,
        value: bits,
    }
}

const fn access(name: &'static str, value: i32) -> OpenFlag {
    OpenFlag {
        name,
        mask: libc::O_ACCMODE,
        value,
    }
}

static OPEN_FLAGS: [OpenFlag; 17] = [
    access("O_RDONLY", libc::O_RDONLY),
    access("O_WRONLY", libc::O_WRONLY),
    access("O_RDWR", libc::O_RDWR),
    flag("O_CREAT", libc::O_CREAT),
    flag("O_EXCL", libc::O_EXCL),
    flag("O_NOCTTY", libc::O_NOCTTY),
    flag("O_TRUNC", libc::O_TRUNC),
    flag("O_APPEND", libc::O_APPEND),
    flag("O_NONBLOCK", libc::O_NONBLOCK),
    flag("O_DSYNC", libc::O_DSYNC),
    flag("O_SYNC", libc::O_SYNC),
    flag("O_DIRECT", libc::O_DIRECT),
    flag("O_DIRECTORY", libc::O_DIRECTORY),
    flag("O_NOFOLLOW", libc::O_NOFOLLOW),
    flag("O_NOATIME", libc::O_NOATIME),
    flag("O_CLOEXEC", libc::O_CLOEXEC),
    flag("O_TMPFILE", libc::O_TMPFILE),
];

impl OpenFlag {
    /// Every flag.
    pub fn all() -> impl Iterator<Item = Self> {
        OPEN_FLAGS.iter().copied()
    }

    /// Its name, as in the manual.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Which bits of an open it is about.
    pub(crate) const fn mask(self) -> u32 {
        self.mask.cast_unsigned()
    }

    /// What they are with it.
    pub(crate) const fn value(self) -> u32 {
        self.value.cast_unsigned()
    }

    const fn is_access(self) -> bool {
        self.mask == libc::O_ACCMODE
    }
}

/// An address, or all that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `None` when the prefix is too long, or the address has bits beyond it. What maps addresses of
    /// IPv4 becomes those.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (address, prefix) = match address {
            IpAddr::V6(v6) if prefix >= 96 => match v6.to_ipv4_mapped() {
                Some(v4) => (IpAddr::V4(v4), prefix - 96),
                None => (address, prefix),
            },
            _ => (address, prefix),
        };
        let network = Self { address, prefix };
        (prefix <= network.bits() && network.first() == address).then_some(network)
    }

    /// The first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits of it count.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    const fn bits(self) -> u8 {
        match self.address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// The address without what lies beyond the prefix.
    fn first(self) -> IpAddr {
        let beyond = u32::from(self.bits().saturating_sub(self.prefix));
        match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == self.bits() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

impl FromStr for Network {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let no_network = || {
            BadValue::new(
                format!("{} is not an address, nor a network of them", quoted(text)),
                "say one, such as 10.0.0.7, 10.0.0.0/8 or fd00::/8",
            )
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_bad| no_network())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            // A sign is none of a number's here.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_bad| no_network())?
            }
            Some(_) => return Err(no_network()),
            None => most,
        };
        if prefix > most {
            return Err(no_network());
        }
        Self::new(address, prefix).ok_or_else(|| {
            let first = Self { address, prefix }.first();
            BadValue::new(
                format!("{} has bits beyond its first {prefix}", quoted(text)),
                format!("say {first}/{prefix}, or {address} alone"),
            )
        })
    }
}

impl fmt::Display for FdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FdKind {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let names: Vec<&str> = Self::all().map(Self::name).collect();
        Self::all().find(|kind| kind.name() == text).ok_or_else(|| {
            let problem = format!("{} is not a kind of descriptor", quoted(text));
            BadValue::new(problem, guess(text, &names))
        })
    }
}

impl fmt::Display for OpenFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for OpenFlag {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let names: Vec<&str> = Self::all().map(Self::name).collect();
        Self::all().find(|flag| flag.name == text).ok_or_else(|| {
            let problem = format!("{} is not a flag of open(2)", quoted(text));
            BadValue::new(problem, guess(text, &names))
        })
    }
}

/// What a filter asks of a call's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Fd,
    Path,
    Peer,
    PeerPort,
    Flags,
    MinSize,
}

impl Part {
    const fn key(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::Path => "path",
            Self::Peer => "peer",
            Self::PeerPort => "peerPort",
            Self::Flags => "flags",
            Self::MinSize => "minSize",
        }
    }

    /// Whether a call has it.
    fn is_of(self, call: Syscall) -> bool {
        let number = call.number().into();
        match self {
            Self::Fd => arguments::has_descriptor(number),
            Self::Path => call.has_file() || call.is_named_by_hooks(),
            Self::Peer | Self::PeerPort => arguments::peer(number).is_some(),
            Self::Flags => arguments::open_flags(number).is_some(),
            Self::MinSize => arguments::size(number).is_some(),
        }
    }

    /// What the calls without it lack.
    const fn lack(self) -> &'static str {
        match self {
            Self::Fd => "whose first argument is no descriptor",
            Self::Path => "of which no mechanism can tell the path",
            Self::Peer | Self::PeerPort => "which says no peer, or several",
            Self::Flags => "which does not open files",
            Self::MinSize => "which does not say in one argument how many bytes",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Fd => "leave it out, or name calls such as read, write or fsync",
            Self::Path => {
                "leave it out, name calls on descriptors or opens, or say file.error, which knows \
                 both names of a rename or a link"
            }
            Self::Peer | Self::PeerPort => {
                "leave it out, or name calls such as connect, sendto or recvfrom"
            }
            Self::Flags => "leave it out, or name open, openat, openat2 or creat",
            Self::MinSize => "leave it out, or name calls such as read, write, sendto or recvfrom",
        }
    }
}

/// Bytes, as calls have them or with a unit.
fn parse_size(text: &str) -> Result<u64, BadValue> {
    parse_count(text).or_else(|bad| {
        let has_unit = text.ends_with(|end: char| end.is_ascii_alphabetic());
        match text.parse::<ByteSize>() {
            Ok(size) => Ok(size.bytes()),
            Err(bad) if has_unit => Err(bad),
            Err(_) => Err(bad),
        }
    })
}

impl CallFilter {
    /// Sets one of its keys from a text, which adds to a list; `false` when it has no such key.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        match key {
            "fd" => add(&mut self.fd, text)?,
            "path" => self.path = Some(text.parse()?),
            "peer" => add(&mut self.peer, text)?,
            "peerPort" => self.peer_port = Some(parse_port(text)?),
            "flags" => add(&mut self.flags, text)?,
            "minSize" => self.min_size = Some(parse_size(text)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        [
            (Part::Fd, !self.fd.is_empty()),
            (Part::Path, self.path.is_some()),
            (Part::Peer, !self.peer.is_empty()),
            (Part::PeerPort, self.peer_port.is_some()),
            (Part::Flags, !self.flags.is_empty()),
            (Part::MinSize, self.min_size.is_some()),
        ]
        .into_iter()
        .filter_map(|(part, is_set)| is_set.then_some(part))
    }

    /// Whether a call that stands for a class can be asked for all of it, whatever the mechanism is.
    pub(crate) fn suits(&self, call: Syscall) -> bool {
        self.parts()
            .all(|part| part.is_of(call) && (part != Part::Path || call.has_file()))
    }

    /// Its rules, each under the key that has to change.
    pub(super) fn rules(&self, ops: &[SyscallOp]) -> Vec<(&'static str, Result<(), BadValue>)> {
        let mut rules: Vec<_> = self
            .parts()
            .map(|part| (part.key(), self.check_part(part, ops)))
            .collect();
        rules.extend([
            ("fd", check_list(&self.fd, usize::MAX)),
            ("peer", check_list(&self.peer, PEERS)),
            ("flags", check_list(&self.flags, usize::MAX)),
            ("flags", self.check_access()),
        ]);
        if let Some(path) = &self.path {
            rules.push(("path", path.check()));
        }
        rules.push(("peerPort", check_port(self.peer_port)));
        if self.min_size == Some(0) {
            let bad = BadValue::new("is 0: every call has that", "say at least 1");
            rules.push(("minSize", Err(bad)));
        }
        rules
    }

    fn check_part(&self, part: Part, ops: &[SyscallOp]) -> Result<(), BadValue> {
        let without: Vec<String> = ops
            .iter()
            .filter(|op| match op {
                SyscallOp::Call(call) => !part.is_of(*call),
                SyscallOp::Class(class) => !class.calls().any(|call| self.suits(call)),
            })
            .map(ToString::to_string)
            .collect();
        if without.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = without.iter().map(String::as_str).collect();
        Err(BadValue::new(
            format!("can't be asked of {}, {}", all_of(&names), part.lack()),
            part.remedy(),
        ))
    }

    fn check_access(&self) -> Result<(), BadValue> {
        let modes: Vec<&str> = self
            .flags
            .iter()
            .filter(|flag| flag.is_access())
            .map(|flag| flag.name)
            .collect();
        if modes.len() < 2 {
            return Ok(());
        }
        Err(BadValue::new(
            format!("no open has {}", all_of(&modes)),
            "say one of them, or write a fault for each",
        ))
    }
}

pub(super) fn check_list<T: PartialEq>(list: &[T], most: usize) -> Result<(), BadValue> {
    if (1..list.len()).any(|i| list[..i].contains(&list[i])) {
        return Err(BadValue::new("names one twice", "name it once"));
    }
    if list.len() > most {
        return Err(BadValue::new(
            format!("names {}", list.len()),
            format!("name at most {most}, or write another fault for the rest"),
        ));
    }
    Ok(())
}

/// That a port which is set is one.
pub(super) fn check_port(port: Option<u16>) -> Result<(), BadValue> {
    match port {
        Some(0) => Err(no_port("0")),
        _ => Ok(()),
    }
}

pub(super) fn no_port(text: &str) -> BadValue {
    BadValue::new(
        format!("{} is not a port", quoted(text)),
        "say a number from 1 to 65535",
    )
}

pub(super) fn parse_port(text: &str) -> Result<u16, BadValue> {
    super::schedule::count(text)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .ok_or_else(|| no_port(text))
}
