//! How a command reaches an agent or a scheduler, and what it makes of its refusals.

use std::{fmt, io, time::Duration};

use clap::Args;
use tonic::{Status, transport::Channel};

use crate::{
    api::{
        MAX_ANSWER, Malformed, RemoteError, dial,
        proto::{ExperimentStatus as Wire, scheduler_service_client::SchedulerServiceClient},
    },
    experiment::Violations,
    scheduler::{ExitClass, ExperimentStatus, Outcome},
};

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
        default_value = "unix:///run/kchaos/kchaos.sock",
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
    fn from(error: io::Error) -> Self {
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
