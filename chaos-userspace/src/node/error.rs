//! Why a node did not do what it was asked to.

use crate::{engine::EngineError, knob::KnobError, target::TargetError};

/// Why a node did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The plan itself can't be carried out anywhere: exit code 2.
    #[error("{field}: {problem}")]
    BadPlan {
        /// Path of the field, such as `spec.faults[0].target`.
        field: String,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// This node has no mechanism, privilege or target for it: exit code 3.
    #[error("{0}")]
    Unsupported(String),
    /// No plan of that identity lives here.
    #[error("no plan '{0}' on this node")]
    UnknownPlan(String),
    /// The kernel refused something that it should not have: exit code 1.
    #[error("{0}")]
    Kernel(String),
}

/// A target that is wrong in the plan, or not there.
pub(super) fn not_found(field: String, error: TargetError) -> NodeError {
    match error {
        TargetError::Bad(problem) => bad(field, &problem),
        TargetError::Missing(reason) => NodeError::Unsupported(format!("{field}: {reason}")),
    }
}

/// A plan that can't be carried out anywhere.
pub(super) fn bad(field: String, problem: &str) -> NodeError {
    NodeError::BadPlan {
        field,
        problem: problem.to_owned(),
    }
}

impl From<EngineError> for NodeError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Full(text) => Self::Unsupported(text),
            other => Self::Kernel(other.to_string()),
        }
    }
}

impl From<KnobError> for NodeError {
    fn from(error: KnobError) -> Self {
        match error {
            KnobError::Unsupported(reason) => Self::Unsupported(reason),
            other => Self::Kernel(other.to_string()),
        }
    }
}

impl From<TargetError> for NodeError {
    fn from(error: TargetError) -> Self {
        Self::Unsupported(error.to_string())
    }
}
