//! Injections as strace(1) writes them: `SET[:error=ERRNO][:when=WHEN]`.
//!
//! strace counts the calls of each thread and of each system call by itself, so `when` becomes
//! `scope=thread`, and every call of SET a fault of its own.

use std::ops::Range;

use super::{
    Errno, Fault, Syscall, When,
    violation::{BadValue, Collector, Violation, Violations},
    word,
    wording::{quoted, shown},
};

/// What strace says in front of it behind `-e`.
const PREFIXES: [&str; 2] = ["inject=", "fault="];
const FORM: &str = "write it as strace does, such as 'fsync,fdatasync:error=EIO:when=3'";

/// Reads an injection of strace as the faults that do the same.
///
/// # Errors
/// Everything that is wrong, each with the bytes that are meant; [`word::render`] shows the places.
pub fn parse(text: &str) -> Result<Vec<Fault>, Violations> {
    let prefix = PREFIXES
        .into_iter()
        .find(|prefix| text.starts_with(prefix))
        .unwrap_or_default();
    let mut injection = Injection::default();
    let mut found = Collector::default();
    for (index, (part, span)) in split(text, prefix.len(), ':').enumerate() {
        let read = match index {
            0 => injection.calls(text, span.clone(), &mut found),
            _ => injection.option(part, span.clone(), &mut found),
        };
        if let Err(bad) = read {
            found.push(Violation::of("", bad).at(span));
        }
    }
    // `-e fault=SET` alone is ENOSYS to strace.
    if injection.errno.is_none() && prefix == "fault=" {
        injection.errno = "ENOSYS".parse().ok();
    }
    if injection.errno.is_none() && !injection.has_error {
        let violation = Violation::new("error", "is missing").with_remedy(FORM);
        found.push(violation.at(text.len()..text.len()));
    }
    let words = injection.words();
    found.finish(())?;
    words.iter().map(|word| word::parse(word)).collect()
}

#[derive(Debug, Default)]
struct Injection {
    calls: Vec<Syscall>,
    errno: Option<Errno>,
    /// Said, well or not.
    has_error: bool,
    when: Option<When>,
}

impl Injection {
    fn calls(
        &mut self,
        text: &str,
        set: Range<usize>,
        found: &mut Collector,
    ) -> Result<(), BadValue> {
        let whole = text.get(set.clone()).unwrap_or_default();
        if whole.is_empty() {
            return Err(BadValue::new("no system call is named", FORM));
        }
        for (name, span) in split(whole, 0, ',') {
            let span = set.start + span.start..set.start + span.end;
            // `?` is: no matter if there is no such call.
            let (known, optional) = match name.strip_prefix('?') {
                Some(rest) => (rest, true),
                None => (name, false),
            };
            match known.parse() {
                Ok(call) if self.calls.contains(&call) => {}
                Ok(call) => self.calls.push(call),
                Err(_) if optional && !Syscall::exists(known) => {}
                Err(_) if name.starts_with(['!', '/', '%']) || matches!(name, "all" | "none") => {
                    let bad = BadValue::new(
                        format!(
                            "{} is a set of calls, and only names are known here",
                            quoted(name)
                        ),
                        "name the calls, joined by commas",
                    );
                    found.push(Violation::of("", bad).at(span));
                }
                Err(bad) => found.push(Violation::of("", bad).at(span)),
            }
        }
        Ok(())
    }

    fn option(
        &mut self,
        part: &str,
        span: Range<usize>,
        found: &mut Collector,
    ) -> Result<(), BadValue> {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value_span = span.end - value.len()..span.end;
        let bad = match key {
            "error" => {
                self.has_error = true;
                errno(value).map(|errno| self.errno = Some(errno)).err()
            }
            "when" => value.parse().map(|when| self.when = Some(when)).err(),
            "retval" | "delay_enter" => {
                let fault = if key == "retval" {
                    "syscall.return:write=100"
                } else {
                    "syscall.delay:write=200ms"
                };
                return Err(BadValue::new(
                    format!("{key} is not read in strace's form"),
                    format!("say it as a fault, such as --fault {fault}"),
                ));
            }
            "delay_exit" | "signal" | "syscall" | "poke_enter" | "poke_exit" => {
                return Err(BadValue::new(
                    format!("kchaos has nothing like strace's {key}"),
                    "it takes error and when",
                ));
            }
            _ => {
                return Err(BadValue::new(
                    format!("{} is nothing that strace injects", quoted(key)),
                    FORM,
                ));
            }
        };
        found.extend(bad.map(|bad| Violation::of(shown(key), bad).at(value_span)));
        Ok(())
    }

    /// The same as fault words.
    fn words(&self) -> Vec<String> {
        let Some(errno) = self.errno else {
            return Vec::new();
        };
        let joined = |calls: &[Syscall]| {
            calls
                .iter()
                .map(|call| call.name())
                .collect::<Vec<_>>()
                .join("+")
        };
        match self.when {
            None if self.calls.is_empty() => Vec::new(),
            None => vec![format!("syscall.error:{}={errno}", joined(&self.calls))],
            Some(when) => self
                .calls
                .iter()
                .map(|call| format!("syscall.error:{call}={errno},when={when},scope=thread"))
                .collect(),
        }
    }
}

/// strace also takes numbers.
fn errno(text: &str) -> Result<Errno, BadValue> {
    text.parse::<u16>()
        .ok()
        .and_then(Errno::from_number)
        .map_or_else(|| text.parse(), Ok)
}

/// The parts of `text` from `start` on, and where they stand.
fn split(text: &str, start: usize, separator: char) -> impl Iterator<Item = (&str, Range<usize>)> {
    let rest = text.get(start..).unwrap_or_default();
    let mut at = start;
    rest.split(separator).map(move |part| {
        let span = at..at + part.len();
        at = span.end + separator.len_utf8();
        (part, span)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        parse(text).unwrap().iter().map(word::format).collect()
    }

    fn said(text: &str) -> String {
        word::render(text, &parse(text).unwrap_err())
    }

    #[test]
    fn what_strace_injects_becomes_faults() {
        for (text, expected) in [
            ("fsync:error=EIO", vec!["syscall.error:fsync=EIO"]),
            (
                "fsync:error=EIO:when=3",
                vec!["syscall.error:fsync=EIO,when=3,scope=thread"],
            ),
            (
                "inject=read,write:when=2..8+2:error=5",
                vec![
                    "syscall.error:read=EIO,when=2..8+2,scope=thread",
                    "syscall.error:write=EIO,when=2..8+2,scope=thread",
                ],
            ),
            ("fault=read,write", vec!["syscall.error:read+write=ENOSYS"]),
            (
                "?nosuch,fsync,fsync:error=EIO",
                vec!["syscall.error:fsync=EIO"],
            ),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        assert_eq!(
            said("fsynk,%file:error=EFOO:retval=3:when=0"),
            "\
fsynk,%file:error=EFOO:retval=3:when=0
^^^^^
'fsynk' is not a system call of x86-64; did you mean fsync?

fsynk,%file:error=EFOO:retval=3:when=0
      ^^^^^
'%file' is a set of calls, and only names are known here; name the calls, joined by commas

fsynk,%file:error=EFOO:retval=3:when=0
                  ^^^^
error: 'EFOO' is not the name of an errno; did you mean EIO?

fsynk,%file:error=EFOO:retval=3:when=0
                       ^^^^^^^^
retval is not read in strace's form; say it as a fault, such as --fault syscall.return:write=100

fsynk,%file:error=EFOO:retval=3:when=0
                                     ^
when: '0' counts from 0; events are counted from 1: the first is 1
"
        );
    }

    #[test]
    fn what_is_not_there_is_missed() {
        for (text, problem) in [
            ("", "no system call is named"),
            ("fsync", "error: is missing"),
            ("fsync:error=", "error: "),
            ("fsync:", "'' is nothing that strace injects"),
            (":error=EIO", "no system call is named"),
        ] {
            assert!(said(text).contains(problem), "{text}: {}", said(text));
        }
    }
}
