//! Injections as strace(1) writes them: `SET[:error=ERRNO|:retval=VALUE][:delay_enter=DELAY][:when=WHEN]`.
//!
//! strace counts the calls of each thread and of each system call by itself, so `when` becomes
//! `scope=thread`, and every call of SET a fault of its own.

use std::ops::Range;

use super::{
    Errno, Fault, Syscall, SyscallOp, When, format_duration, parse_duration,
    schedule::count,
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
    if !injection.has_effect && prefix == "fault=" {
        injection.ends = Some("syscall.error=ENOSYS".to_owned());
        injection.has_effect = true;
    }
    if !injection.has_effect {
        let violation = Violation::new("error", "is missing").with_remedy(FORM);
        found.push(violation.at(text.len()..text.len()));
    }
    let words = injection.words();
    found.finish(())?;
    words.iter().map(|word| word::parse(word)).collect()
}

#[derive(Debug, Default)]
struct Injection {
    calls: Vec<SyscallOp>,
    /// What calls are made to wait, and what they end with, as `KIND=EFFECT`.
    waits: Option<String>,
    ends: Option<String>,
    /// Whether one of these was said, well or not.
    has_effect: bool,
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
                Err(_) if name.starts_with(['!', '/']) || matches!(name, "all" | "none") => {
                    let bad = BadValue::new(
                        format!(
                            "{} is a set of calls, and only names and classes are known here",
                            quoted(name)
                        ),
                        "name the calls or a class such as %file, joined by commas",
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
            "error" | "retval" => {
                let again = self.ends.is_some();
                self.has_effect = true;
                let effect = if key == "error" {
                    errno(value).map(|errno| format!("syscall.error={errno}"))
                } else {
                    number(value).map(|value| format!("syscall.return={value}"))
                };
                if again {
                    Some(BadValue::new(
                        "says again what the calls return",
                        "keep one of error and retval",
                    ))
                } else {
                    effect
                        .and_then(possible)
                        .map(|effect| self.ends = Some(effect))
                        .err()
                }
            }
            "delay_enter" => {
                self.has_effect = true;
                microseconds(value)
                    .and_then(possible)
                    .map(|effect| self.waits = Some(effect))
                    .err()
            }
            "when" => self.when(value).err(),
            "delay_exit" | "signal" | "syscall" | "poke_enter" | "poke_exit" => {
                return Err(BadValue::new(
                    format!("kchaos has nothing like strace's {key}"),
                    "it takes error, retval, delay_enter and when",
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

    fn when(&mut self, value: &str) -> Result<(), BadValue> {
        self.when = Some(value.parse()?);
        let class = |op: &&SyscallOp| matches!(op, SyscallOp::Class(_));
        match self.calls.iter().find(class) {
            None => Ok(()),
            Some(class) => Err(BadValue::new(
                format!("each call of {class} would be counted for itself"),
                "name the calls, or leave `when` out",
            )),
        }
    }

    /// The same as fault words: a wait before what the call ends with.
    fn words(&self) -> Vec<String> {
        let names: Vec<String> = self.calls.iter().map(ToString::to_string).collect();
        let (targets, tail) = match self.when {
            _ if names.is_empty() => (Vec::new(), String::new()),
            None => (vec![names.join("+")], String::new()),
            Some(when) => (names, format!(",when={when},scope=thread")),
        };
        let mut words = Vec::new();
        for calls in &targets {
            for (kind, value) in self
                .waits
                .iter()
                .chain(&self.ends)
                .filter_map(|effect| effect.split_once('='))
            {
                words.push(format!("{kind}:{calls}={value}{tail}"));
            }
        }
        words
    }
}

/// The effect, if a fault can have it.
fn possible(effect: String) -> Result<String, BadValue> {
    let word = effect.replacen('=', ":read=", 1);
    match word::parse(&word) {
        Ok(_) => Ok(effect),
        Err(violations) => Err(violations.into_iter().next().map_or_else(
            || BadValue::new("is impossible", FORM),
            |Violation {
                 problem, remedy, ..
             }| BadValue { problem, remedy },
        )),
    }
}

/// strace also takes numbers.
fn errno(text: &str) -> Result<Errno, BadValue> {
    text.parse::<u16>()
        .ok()
        .and_then(Errno::from_number)
        .map_or_else(|| text.parse(), Ok)
}

fn number(text: &str) -> Result<u64, BadValue> {
    count(text).ok_or_else(|| {
        BadValue::new(
            format!("{} is no number", quoted(text)),
            "say what the call returns, such as retval=0; for an error say error=EIO",
        )
    })
}

/// Microseconds to strace, unless there is a unit.
fn microseconds(text: &str) -> Result<String, BadValue> {
    let delay = match count(text) {
        Some(_) => format!("{text}us"),
        None => format_duration(parse_duration(text)?),
    };
    Ok(format!("syscall.delay={delay}"))
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
            ("write:retval=100", vec!["syscall.return:write=100"]),
            (
                "fsync,write:delay_enter=1500:error=EIO:when=2+",
                vec![
                    "syscall.delay:fsync=1.5ms,when=2+,scope=thread",
                    "syscall.error:fsync=EIO,when=2+,scope=thread",
                    "syscall.delay:write=1.5ms,when=2+,scope=thread",
                    "syscall.error:write=EIO,when=2+,scope=thread",
                ],
            ),
            ("read:delay_enter=2s", vec!["syscall.delay:read=2s"]),
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
            said("fsynk,!file:error=EFOO:signal=9:when=0"),
            "\
fsynk,!file:error=EFOO:signal=9:when=0
^^^^^
'fsynk' is not a system call of x86-64; did you mean fsync?

fsynk,!file:error=EFOO:signal=9:when=0
      ^^^^^
'!file' is a set of calls, and only names and classes are known here; \
name the calls or a class such as %file, joined by commas

fsynk,!file:error=EFOO:signal=9:when=0
                  ^^^^
error: 'EFOO' is not the name of an errno; did you mean EIO?

fsynk,!file:error=EFOO:signal=9:when=0
                       ^^^^^^^^
kchaos has nothing like strace's signal; it takes error, retval, delay_enter and when

fsynk,!file:error=EFOO:signal=9:when=0
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
            ("read:retval=-5", "retval: '-5' is no number"),
            ("read:retval=99999999999", "retval: "),
            ("read:error=EIO:retval=3", "retval: says again"),
            ("read:delay_enter=9h", "delay_enter: "),
            ("read:delay_enter=1,x", "delay_enter: "),
            ("%fil:error=EIO", "did you mean %file?"),
            (
                "%file:error=EIO:when=3",
                "when: each call of %file would be counted for itself",
            ),
        ] {
            assert!(said(text).contains(problem), "{text}: {}", said(text));
        }
    }
}
