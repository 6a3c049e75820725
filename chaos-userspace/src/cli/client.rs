//! How a command reaches an agent or a scheduler, and what it makes of its refusals.

use std::{fmt, io, time::Duration};

use clap::Args;
use tonic::{Status, transport::Channel};

use crate::{
    api::{
        MAX_ANSWER, Malformed, RemoteError, dial,
        proto::{
            ExperimentStatus as Wire, ListRequest, scheduler_service_client::SchedulerServiceClient,
        },
    },
    experiment::{Violations, format_duration},
    scheduler::{ExitClass, ExperimentStatus, Outcome},
    state::StateDir,
};

/// How long an answer that needs no work may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of whoever was dialed.
pub(super) type Client = SchedulerServiceClient<Channel>;

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    /// Whom to ask: the agent of this machine, or a scheduler
    #[arg(
        long,
        value_name = "URL",
        env = "KCHAOS_SOCKET",
        default_value_t = format!("unix://{}", StateDir::default().socket().display()),
        long_help = "Whom to ask: the agent of this machine (unix:///PATH) or a scheduler \
                     (http://127.0.0.1:PORT)"
    )]
    pub socket: String,
}

/// Why a command did not do what it was asked to, and its exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// The exit status: 1 failed, 2 bad input, 3 this node can't do it.
    pub exit: u8,
    /// For people; may have several lines.
    pub message: String,
}

impl CliError {
    pub(super) fn new(class: ExitClass, message: impl Into<String>) -> Self {
        Self {
            exit: class.code(),
            message: message.into(),
        }
    }

    /// Everything that is wrong with an experiment.
    pub(super) fn invalid(source: &str, violations: &Violations) -> Self {
        let mut message = format!("{source} is not a valid experiment:");
        for violation in violations {
            message.push_str("\n  ");
            message.push_str(&violation.to_string());
        }
        Self::new(ExitClass::BadInput, message)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<io::Error> for CliError {
    /// Whoever read what is printed has gone, as `head` does: nothing to complain of, and the exit
    /// status is that of a program which SIGPIPE has ended.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                exit: 128 + 13,
                message: String::new(),
            };
        }
        Self::new(ExitClass::Failed, error.to_string())
    }
}

impl From<Malformed> for CliError {
    fn from(malformed: Malformed) -> Self {
        let message = format!("the answer can't be read (is it of another version?): {malformed}");
        Self::new(ExitClass::Failed, message)
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        let refusal = RemoteError::from(&status);
        Self::new(refusal.class, refusal.to_string())
    }
}

impl Connect {
    /// A client of whoever listens.
    pub(super) async fn client(&self) -> Result<Client, CliError> {
        let socket = &self.socket;
        let channel = dial::endpoint(socket)
            .map_err(|problem| {
                CliError::new(
                    ExitClass::BadInput,
                    format!("--socket '{socket}': {problem}"),
                )
            })?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(|error| unreachable(socket, &error))?;
        Ok(SchedulerServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER))
    }
}

impl Connect {
    /// The experiments of a name, or all of them.
    pub(super) async fn list(&self, name: &str) -> Result<Vec<ExperimentStatus>, CliError> {
        self.list_within(name, PATIENCE).await
    }

    async fn list_within(
        &self,
        name: &str,
        patience: Duration,
    ) -> Result<Vec<ExperimentStatus>, CliError> {
        let asked = async {
            let mut client = self.client().await?;
            let request = ListRequest {
                name: name.to_owned(),
            };
            let answer = client.list(request).await?.into_inner();
            let found = answer.experiments.into_iter();
            Ok(found
                .map(ExperimentStatus::try_from)
                .collect::<Result<_, _>>()?)
        };
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or_else(|_elapsed| Err(self.silent(patience)))
    }

    fn silent(&self, patience: Duration) -> CliError {
        let message = format!(
            "no answer at {} within {}: whoever listens there hangs, or is stopped (state T in ps); \
             `kchaos stop --all` ends every fault of this machine without it",
            self.socket,
            format_duration(patience)
        );
        CliError::new(ExitClass::Failed, message)
    }
}

fn unreachable(socket: &str, error: &tonic::transport::Error) -> CliError {
    let mut cause: &dyn std::error::Error = error;
    let mut kind = None;
    while let Some(source) = cause.source() {
        cause = source;
        kind = cause
            .downcast_ref::<io::Error>()
            .map(io::Error::kind)
            .or(kind);
    }
    let message = match kind {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => format!(
            "no agent at {socket}: start kchaos-agent, or use `kchaos run` or\n\
             `kchaos inject`, which need none"
        ),
        Some(io::ErrorKind::PermissionDenied) => {
            format!("{socket} is for the agent's own user, which is usually root: try sudo")
        }
        _ => format!("no answer at {socket}: {cause}"),
    };
    CliError::new(ExitClass::Failed, message)
}

/// The status that an answer has to have.
pub(super) fn status(wire: Option<Wire>) -> Result<ExperimentStatus, CliError> {
    let missing = || CliError::new(ExitClass::Failed, "the answer has no status");
    Ok(wire.ok_or_else(missing)?.try_into()?)
}

/// The exit status that an outcome means.
pub(super) const fn exit_of(outcome: Option<Outcome>) -> u8 {
    match outcome {
        Some(Outcome::Passed) => 0,
        Some(Outcome::Failed) => 1,
        Some(Outcome::Inconclusive) | None => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_never_answers_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // The kernel takes connections for it, and nobody reads them: as of a process that is stopped.
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let connect = Connect {
            socket: format!("unix://{}", path.display()),
        };
        let error = connect
            .list_within("", Duration::from_millis(200))
            .await
            .unwrap_err();
        assert_eq!(error.exit, 1);
        for word in ["no answer at unix://", "within 200ms", "kchaos stop --all"] {
            assert!(error.message.contains(word), "{error}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_of_ours() {
        let gone = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((gone.exit, gone.message.as_str()), (141, ""));
        let full = CliError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit, 1);
        assert!(!full.message.is_empty());
    }
}
