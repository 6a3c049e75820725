//! Refusals on the wire, and back.
//!
//! The details are google.rpc's: a `BadRequest` with the violations, and an `ErrorInfo` with the exit
//! status for a command line. They travel in a header, which has to stay small.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::{
    experiment::{Violation, Violations},
    node::NodeError,
    scheduler::{Error, ExitClass},
};

/// Of every `ErrorInfo`.
const DOMAIN: &str = "kchaos.dev";

/// The key of the exit status in an `ErrorInfo`.
const EXIT_CODE: &str = "exit_code";

/// Bytes of violations and of the message that still fit into a header of 16 KiB, encoded.
const MAX_DETAIL: usize = 5000;
const MAX_MESSAGE: usize = 1500;

/// A refusal as a gRPC status.
pub fn status_of(error: &Error) -> Status {
    let (code, reason) = describe(error);
    let mut details = ErrorDetails::with_error_info(
        reason,
        DOMAIN,
        [(EXIT_CODE.to_owned(), error.class().code().to_string())],
    );
    match error {
        Error::Invalid(violations) => {
            details.set_bad_request(violations_on_wire(violations));
        }
        Error::Node {
            source: NodeError::BadPlan { field, problem },
            ..
        } => {
            details.add_bad_request_violation(field, problem);
        }
        _ => {}
    }
    let message = shortened(error.to_string(), MAX_MESSAGE);
    Status::with_error_details(code, message, details)
}

fn describe(error: &Error) -> (Code, &'static str) {
    match error {
        Error::Invalid(_) => (Code::InvalidArgument, "INVALID_EXPERIMENT"),
        Error::NameTaken(_) => (Code::AlreadyExists, "NAME_TAKEN"),
        Error::TooMany(_) => (Code::ResourceExhausted, "TOO_MANY_EXPERIMENTS"),
        Error::UnknownExperiment(_) => (Code::NotFound, "UNKNOWN_EXPERIMENT"),
        Error::NoNode => (Code::Unavailable, "NO_NODE"),
        Error::UnknownNode { .. } => (Code::NotFound, "UNKNOWN_NODE"),
        Error::WhichNode(_) => (Code::InvalidArgument, "WHICH_NODE"),
        Error::NodeTaken(_) => (Code::AlreadyExists, "NODE_TAKEN"),
        Error::BadNodeName(_) => (Code::InvalidArgument, "BAD_NODE_NAME"),
        Error::NotArmed(_) => (Code::Aborted, "NOT_ARMED"),
        Error::NotConfirmed { .. } => (Code::DeadlineExceeded, "NOT_CONFIRMED"),
        Error::Closing => (Code::Unavailable, "CLOSING"),
        Error::Node { source, .. } => match source {
            NodeError::BadPlan { .. } => (Code::InvalidArgument, "BAD_PLAN"),
            NodeError::Unsupported(_) => (Code::FailedPrecondition, "UNSUPPORTED"),
            NodeError::UnknownPlan(_) => (Code::NotFound, "UNKNOWN_PLAN"),
            NodeError::Kernel(_) => (Code::Internal, "KERNEL"),
        },
    }
}

fn violations_on_wire(violations: &Violations) -> Vec<FieldViolation> {
    let mut room = MAX_DETAIL;
    let mut wire = Vec::new();
    for (i, violation) in violations.iter().enumerate() {
        let field = shortened(violation.field.clone(), 200);
        let description = Violation {
            field: String::new(),
            ..violation.clone()
        }
        .to_string();
        let description = shortened(description, 400);
        let Some(rest) = room.checked_sub(field.len() + description.len()) else {
            let more = violations.iter().count() - i;
            wire.push(FieldViolation::new("", format!("and {more} more")));
            break;
        };
        room = rest;
        wire.push(FieldViolation::new(field, description));
    }
    wire
}

fn shortened(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
    text
}

/// A refusal as its receiver knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteError {
    /// The exit status of a command line.
    pub class: ExitClass,
    /// For people.
    pub message: String,
    /// What is wrong with the experiment, by field.
    pub violations: Vec<Violation>,
}

impl From<&Status> for RemoteError {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let exit_code = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| info.metadata.get(EXIT_CODE))
            .map(String::as_str);
        let class = match (exit_code, status.code()) {
            (Some("2"), _) | (None, Code::InvalidArgument | Code::OutOfRange) => {
                ExitClass::BadInput
            }
            (Some("3"), _) | (None, Code::Unimplemented) => ExitClass::Unsupported,
            _ => ExitClass::Failed,
        };
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            let violations = bad.field_violations.iter();
            violations
                .map(|violation| Violation::new(&violation.field, &violation.description))
                .collect()
        });
        Self {
            class,
            message: status.message().to_owned(),
            violations,
        }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.violations.is_empty() {
            return f.write_str(&self.message);
        }
        // The message lists the same again.
        let first = self.message.lines().next().unwrap_or_default();
        f.write_str(first)?;
        for violation in self.violations.iter().map(ToString::to_string) {
            if !first.contains(&violation) {
                write!(f, "\n  {violation}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for RemoteError {}
