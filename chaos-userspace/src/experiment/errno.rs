//! Linux error numbers by name.

use std::{fmt, str::FromStr};

use super::{
    violation::BadValue,
    wording::{nearest, quoted},
};

/// An error number of Linux on `x86_64` (`asm-generic/errno*.h`); always one that has a name.
///
/// Parses from its name, `EWOULDBLOCK`, `EDEADLOCK` and `ENOTSUP` included, and displays as the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(u16);

impl Errno {
    /// Input/output error.
    pub const EIO: Self = Self(5);
    /// No space left on device.
    pub const ENOSPC: Self = Self(28);
    /// Read-only file system.
    pub const EROFS: Self = Self(30);
    /// Connection timed out.
    pub const ETIMEDOUT: Self = Self(110);
    /// Disk quota exceeded.
    pub const EDQUOT: Self = Self(122);

    /// The number as the kernel headers have it: positive, at most 133.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The errno of this positive number; `None` when none has it.
    pub fn from_number(number: u16) -> Option<Self> {
        NAMES
            .iter()
            .any(|(_, n)| *n == number)
            .then_some(Self(number))
    }

    /// Its name, such as `EIO`.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, number)| *number == self.0)
            .map_or("E?", |(name, _)| name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Errno {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if let Some((_, number)) = all().find(|(name, _)| *name == text) {
            return Ok(Self(number));
        }
        let by_number = text
            .trim_start_matches('-')
            .parse()
            .ok()
            .and_then(Self::from_number);
        let remedy = if let Some(errno) = by_number {
            format!("say {errno}")
        } else if let Some(name) = nearest(text, all().map(|(name, _)| name)) {
            format!("did you mean {name}?")
        } else {
            "say a name of errno(3), such as EIO or ENOENT".to_owned()
        };
        Err(BadValue::new(
            format!("{} is not the name of an errno", quoted(text)),
            remedy,
        ))
    }
}

fn all() -> impl Iterator<Item = (&'static str, u16)> {
    NAMES.iter().chain(&ALIASES).copied()
}

/// Second names; `ENOTSUP` is the C library's.
const ALIASES: [(&str, u16); 3] = [("EWOULDBLOCK", 11), ("EDEADLOCK", 35), ("ENOTSUP", 95)];

#[rustfmt::skip]
const NAMES: [(&str, u16); 131] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("E2BIG", 7),
    ("ENOEXEC", 8),
    ("EBADF", 9),
    ("ECHILD", 10),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("ENOTBLK", 15),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EXDEV", 18),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("ESPIPE", 29),
    ("EROFS", 30),
    ("EMLINK", 31),
    ("EPIPE", 32),
    ("EDOM", 33),
    ("ERANGE", 34),
    ("EDEADLK", 35),
    ("ENAMETOOLONG", 36),
    ("ENOLCK", 37),
    ("ENOSYS", 38),
    ("ENOTEMPTY", 39),
    ("ELOOP", 40),
    ("ENOMSG", 42),
    ("EIDRM", 43),
    ("ECHRNG", 44),
    ("EL2NSYNC", 45),
    ("EL3HLT", 46),
    ("EL3RST", 47),
    ("ELNRNG", 48),
    ("EUNATCH", 49),
    ("ENOCSI", 50),
    ("EL2HLT", 51),
    ("EBADE", 52),
    ("EBADR", 53),
    ("EXFULL", 54),
    ("ENOANO", 55),
    ("EBADRQC", 56),
    ("EBADSLT", 57),
    ("EBFONT", 59),
    ("ENOSTR", 60),
    ("ENODATA", 61),
    ("ETIME", 62),
    ("ENOSR", 63),
    ("ENONET", 64),
    ("ENOPKG", 65),
    ("EREMOTE", 66),
    ("ENOLINK", 67),
    ("EADV", 68),
    ("ESRMNT", 69),
    ("ECOMM", 70),
    ("EPROTO", 71),
    ("EMULTIHOP", 72),
    ("EDOTDOT", 73),
    ("EBADMSG", 74),
    ("EOVERFLOW", 75),
    ("ENOTUNIQ", 76),
    ("EBADFD", 77),
    ("EREMCHG", 78),
    ("ELIBACC", 79),
    ("ELIBBAD", 80),
    ("ELIBSCN", 81),
    ("ELIBMAX", 82),
    ("ELIBEXEC", 83),
    ("EILSEQ", 84),
    ("ERESTART", 85),
    ("ESTRPIPE", 86),
    ("EUSERS", 87),
    ("ENOTSOCK", 88),
    ("EDESTADDRREQ", 89),
    ("EMSGSIZE", 90),
    ("EPROTOTYPE", 91),
    ("ENOPROTOOPT", 92),
    ("EPROTONOSUPPORT", 93),
    ("ESOCKTNOSUPPORT", 94),
    ("EOPNOTSUPP", 95),
    ("EPFNOSUPPORT", 96),
    ("EAFNOSUPPORT", 97),
    ("EADDRINUSE", 98),
    ("EADDRNOTAVAIL", 99),
    ("ENETDOWN", 100),
    ("ENETUNREACH", 101),
    ("ENETRESET", 102),
    ("ECONNABORTED", 103),
    ("ECONNRESET", 104),
    ("ENOBUFS", 105),
    ("EISCONN", 106),
    ("ENOTCONN", 107),
    ("ESHUTDOWN", 108),
    ("ETOOMANYREFS", 109),
    ("ETIMEDOUT", 110),
    ("ECONNREFUSED", 111),
    ("EHOSTDOWN", 112),
    ("EHOSTUNREACH", 113),
    ("EALREADY", 114),
    ("EINPROGRESS", 115),
    ("ESTALE", 116),
    ("EUCLEAN", 117),
    ("ENOTNAM", 118),
    ("ENAVAIL", 119),
    ("EISNAM", 120),
    ("EREMOTEIO", 121),
    ("EDQUOT", 122),
    ("ENOMEDIUM", 123),
    ("EMEDIUMTYPE", 124),
    ("ECANCELED", 125),
    ("ENOKEY", 126),
    ("EKEYEXPIRED", 127),
    ("EKEYREVOKED", 128),
    ("EKEYREJECTED", 129),
    ("EOWNERDEAD", 130),
    ("ENOTRECOVERABLE", 131),
    ("ERFKILL", 132),
    ("EHWPOISON", 133),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Errno>().unwrap_err().to_string()
    }

    #[test]
    fn every_name_comes_back() {
        for (name, number) in NAMES {
            let errno: Errno = name.parse().unwrap();
            assert_eq!((errno.number(), errno.to_string().as_str()), (number, name));
            assert_eq!(Errno::from_number(number), Some(errno));
        }
    }

    #[test]
    fn aliases_have_the_number_of_the_first_name() {
        assert_eq!(
            "EWOULDBLOCK".parse::<Errno>().unwrap().to_string(),
            "EAGAIN"
        );
        assert_eq!("EDEADLOCK".parse::<Errno>().unwrap().to_string(), "EDEADLK");
        assert_eq!(
            "ENOTSUP".parse::<Errno>().unwrap().to_string(),
            "EOPNOTSUPP"
        );
    }

    #[test]
    fn numbers_that_no_errno_has() {
        for number in [0, 41, 58, 134, u16::MAX] {
            assert_eq!(Errno::from_number(number), None);
        }
    }

    #[test]
    fn unknown_names_are_refused_with_a_guess() {
        assert_eq!(
            refused("EFOO"),
            "'EFOO' is not the name of an errno; did you mean EIO?"
        );
        assert_eq!(
            refused("eio"),
            "'eio' is not the name of an errno; did you mean EIO?"
        );
        assert_eq!(
            refused("ENOSPACE"),
            "'ENOSPACE' is not the name of an errno; did you mean ENOSPC?"
        );
        assert_eq!(refused("5"), "'5' is not the name of an errno; say EIO");
        assert_eq!(
            refused("-28"),
            "'-28' is not the name of an errno; say ENOSPC"
        );
        assert_eq!(
            refused("everything"),
            "'everything' is not the name of an errno; say a name of errno(3), such as EIO or ENOENT"
        );
    }
}
