//! Several guests at a time: in each of them the tests run one after the other, which keeps one
//! processor of the host busy and leaves the others idle.

use std::{
    collections::VecDeque,
    io::{self, Write},
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::part::Part;
use crate::lab::{Sink, Spec};

/// Where a guest's output and words about it go.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// To standard output, as it comes.
    AtOnce,
    /// Into memory, because another guest is running beside it.
    Later(Arc<Mutex<Vec<u8>>>),
}

impl Say {
    /// One line.
    pub(super) fn line(&self, text: &str) {
        // Nobody is there to be told that nobody listens.
        self.writer().write_all(format!("{text}\n").as_bytes()).ok();
    }

    /// For a stream of the guest.
    pub(super) fn writer(&self) -> Sink {
        match self {
            Self::AtOnce => Box::new(io::stdout()),
            Self::Later(bytes) => Box::new(Kept(Arc::clone(bytes))),
        }
    }

    fn print(&self) {
        if let Self::Later(bytes) = self {
            let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
            io::stdout().write_all(&bytes).ok();
        }
    }
}

struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs each, as many at a time as there are processors, the first ones first; what each has said is
/// printed in one piece when it is done. The parts are in the order of the guests.
pub(super) fn run(specs: &[Spec], run: impl Fn(&Spec, &Say) -> Part + Sync) -> Vec<Part> {
    let lanes = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(specs.len());
    let queue = Mutex::new(specs.iter().enumerate().collect::<VecDeque<_>>());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let next = lock(&queue).pop_front();
                    let Some((place, spec)) = next else { return };
                    let say = if lanes == 1 {
                        Say::AtOnce
                    } else {
                        println!("=== {spec} has begun");
                        Say::Later(Arc::default())
                    };
                    let part = run(spec, &say);
                    let mut done = lock(&done);
                    say.print();
                    done.push((place, part));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, part)| part).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test::libtest::Counts;

    #[test]
    fn each_guest_is_run_once_and_told_in_order() {
        let specs: Vec<Spec> = ["debian-7", "debian-6.1", "debian-6.12"]
            .map(|name| name.parse().unwrap())
            .into();
        let parts = run(&specs, |spec, say| {
            say.line("a line");
            // The first one is the slowest.
            let took = Duration::from_millis(if spec == &specs[0] { 50 } else { 0 });
            thread::sleep(took);
            Part {
                name: spec.to_string(),
                counts: Counts::default(),
                problem: None,
                took,
            }
        });
        let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["debian-7", "debian-6.1", "debian-6.12"]);
    }

    #[test]
    fn what_is_said_beside_another_guest_is_kept_whole() {
        let kept = Arc::default();
        let say = Say::Later(Arc::clone(&kept));
        say.writer().write_all(b"test a ... ").unwrap();
        say.writer().write_all(b"ok\n").unwrap();
        say.line("a line");
        assert_eq!(*kept.lock().unwrap(), b"test a ... ok\na line\n");
    }
}
