//! What is dialled: a unix socket, or a loopback address.

use tonic::transport::Endpoint;

/// Reads an address: `unix:///PATH` or `http://127.0.0.1:PORT`.
///
/// # Errors
/// What is wrong with it, and what to say instead.
pub(crate) fn endpoint(url: &str) -> Result<Endpoint, String> {
    let is_unix = url.starts_with("unix:");
    if !is_unix && !url.starts_with("http://") {
        return Err("say unix:///PATH or http://127.0.0.1:PORT".to_owned());
    }
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
    let host = endpoint.uri().host().unwrap_or_default();
    if is_unix || is_this_machine(host) {
        return Ok(endpoint);
    }
    Err(format!(
        "{host} is not a loopback address: connections are neither encrypted nor authenticated in \
         this version, so nothing but this machine is dialled; say unix:///PATH or \
         http://127.0.0.1:PORT"
    ))
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_this_machine_is_dialled() {
        for good in [
            "unix:///run/kchaos/agent.sock",
            "http://127.0.0.1:7410",
            "http://127.8.9.1:1",
            "http://[::1]:7410",
            "http://localhost:7410",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for (bad, word) in [
            ("http://8.8.8.8:7410", "loopback"),
            ("http://[::]:7410", "loopback"),
            ("http://localhost.example.org:7410", "loopback"),
            ("http://127.0.0.1.example.org", "loopback"),
            ("http://127.0.0.1@example.org:80", "loopback"),
            ("https://127.0.0.1:7410", "say unix"),
            ("127.0.0.1:7410", "say unix"),
            ("", "say unix"),
        ] {
            let problem = endpoint(bad).map(|_| ()).unwrap_err();
            assert!(problem.contains(word), "{bad}: {problem}");
        }
        assert!(endpoint("http://").is_err());
    }
}
