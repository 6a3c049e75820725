//! Plain HTTP requests, one connection each, at a bounded rate.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::run::account::{Latency, Phase, Traffic};

use super::client::Clock;

/// What is fetched.
pub(super) const PAGE: &str = "page.html";
/// Connections at a time. Each lost packet costs its connection between 0.2 and some seconds, and
/// requests shall go on meanwhile.
const WORKERS: u32 = 16;
/// Requests per second of all workers, if no connection has to wait. Emulation copes with more.
const RATE: u32 = 80;
/// For the whole of a request. A segment that is lost three times in a row is sent a fourth time
/// after seven seconds.
const PATIENCE: Duration = Duration::from_secs(15);

struct Request {
    phase: Phase,
    took: Duration,
    status: io::Result<u16>,
}

/// Requests until the clock stops; what became of them by phase.
pub(super) fn load(clock: &Clock, port: u16) -> BTreeMap<Phase, Traffic> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let period = Duration::from_secs(1) * WORKERS / RATE;
    let requests: Vec<Request> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || work(clock, address, period, worker)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    summary(&requests)
}

fn work(clock: &Clock, address: SocketAddr, period: Duration, worker: u32) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut due = Instant::now() + period * worker / WORKERS;
    while let Some(phase) = clock.phase() {
        let now = Instant::now();
        if now < due {
            thread::sleep(due - now);
            continue;
        }
        // What a slow request kept from being sent is not made up for.
        due = now + clock.stretched(period);
        let status = fetch(address);
        requests.push(Request {
            phase,
            took: now.elapsed(),
            status,
        });
    }
    requests
}

/// Fetches the page; the answer's status, if there is a whole answer.
fn fetch(address: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /{PAGE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    // Not to the end of the connection: a lost FIN is no part of the answer.
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(status) = whole(&answer) {
            return Ok(status);
        }
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..length]);
    }
}

/// The status of an answer that has arrived completely.
fn whole(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim().parse::<usize>();
        value
            .ok()
            .filter(|_| name.eq_ignore_ascii_case("content-length"))
    })?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (answer.len() - end >= length).then_some(status)
}

fn summary(requests: &[Request]) -> BTreeMap<Phase, Traffic> {
    let mut phases: BTreeMap<Phase, (Traffic, Vec<Duration>)> = BTreeMap::new();
    for request in requests {
        let (traffic, took) = phases.entry(request.phase).or_default();
        traffic.requests += 1;
        match request.status {
            Ok(200) => (),
            Ok(_) => traffic.refused += 1,
            Err(_) => traffic.broken += 1,
        }
        if request.status.is_ok() {
            took.push(request.took);
        }
    }
    phases
        .into_iter()
        .map(|(phase, (mut traffic, mut took))| {
            took.sort_unstable();
            traffic.latency = latency(&took);
            (phase, traffic)
        })
        .collect()
}

/// Nearest-rank percentiles of what is sorted.
fn latency(took: &[Duration]) -> Option<Latency> {
    let rank = |percent: usize| {
        let index = (took.len() * percent).div_ceil(100).saturating_sub(1);
        Some(took.get(index)?.as_secs_f64() * 1000.0)
    };
    Some(Latency {
        p50: rank(50)?,
        p99: rank(99)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_is_there() {
        let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(whole(head.as_bytes()), None);
        assert_eq!(whole(format!("{head}ab").as_bytes()), None);
        assert_eq!(whole(format!("{head}abc").as_bytes()), Some(500));
        assert_eq!(whole(b"HTTP/1.1 200"), None);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let took: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let Latency { p50, p99 } = latency(&took).unwrap();
        assert!((p50 - 50.0).abs() < 1e-6 && (p99 - 99.0).abs() < 1e-6);
        assert_eq!(latency(&[]), None);
    }
}
