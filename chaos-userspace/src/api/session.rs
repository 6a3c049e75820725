//! The messages of an agent's session, to and from the wire.

use super::{Malformed, proto};
use crate::{
    node::{NodeError, Plan},
    scheduler::{FromNode, Hello, ToNode},
};
use proto::{agent_message::Message as Up, plan_refused::Code, scheduler_message::Message as Down};

/// Wraps a message of the agent.
pub const fn up(message: Up) -> proto::AgentMessage {
    proto::AgentMessage {
        message: Some(message),
    }
}

/// Wraps a message of the scheduler.
pub const fn down(message: Down) -> proto::SchedulerMessage {
    proto::SchedulerMessage {
        message: Some(message),
    }
}

impl From<Hello> for proto::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            node: hello.node,
            version: hello.version,
            boot_id: hello.boot_id,
            instance: hello.instance,
            live_plans: hello.live_plans,
        }
    }
}

impl From<proto::Hello> for Hello {
    fn from(wire: proto::Hello) -> Self {
        Self {
            node: wire.node,
            version: wire.version,
            boot_id: wire.boot_id,
            instance: wire.instance,
            live_plans: wire.live_plans,
        }
    }
}

impl From<ToNode> for Down {
    fn from(order: ToNode) -> Self {
        match order {
            ToNode::Apply(plan) => Self::Apply(proto::ApplyPlan {
                experiment: Some((&plan.experiment).into()),
                plan_id: plan.id,
            }),
            ToNode::Stop { plan } => Self::Stop(proto::StopPlan { plan_id: plan }),
        }
    }
}

impl TryFrom<proto::ApplyPlan> for Plan {
    /// The answer to the scheduler.
    type Error = FromNode;

    fn try_from(wire: proto::ApplyPlan) -> Result<Self, FromNode> {
        let refused = |field: &str, problem: String| FromNode::Refused {
            plan: wire.plan_id.clone(),
            error: NodeError::BadPlan {
                field: field.to_owned(),
                problem,
            },
        };
        let Some(experiment) = wire.experiment.clone() else {
            return Err(refused("experiment", "is missing".to_owned()));
        };
        match experiment.try_into() {
            Ok(experiment) => Ok(Self {
                id: wire.plan_id,
                experiment,
            }),
            Err(violations) => Err(refused("experiment", violations.to_string())),
        }
    }
}

impl From<FromNode> for Up {
    fn from(message: FromNode) -> Self {
        match message {
            FromNode::Live(status) => Self::Update(proto::PlanUpdate {
                status: Some((&status).into()),
                plan_id: status.id,
                ended: None,
            }),
            FromNode::Ended {
                plan,
                status,
                reason,
            } => Self::Update(proto::PlanUpdate {
                plan_id: plan,
                status: status.as_ref().map(Into::into),
                ended: Some(proto::PlanEnd {
                    reason: reason.unwrap_or_default(),
                }),
            }),
            FromNode::Refused { plan, error } => Self::Refused(refusal(plan, error)),
        }
    }
}

fn refusal(plan_id: String, error: NodeError) -> proto::PlanRefused {
    let (code, field, message) = match error {
        NodeError::BadPlan { field, problem } => (Code::BadPlan, field, problem),
        NodeError::Unsupported(message) => (Code::Unsupported, String::new(), message),
        NodeError::Kernel(message) => (Code::Kernel, String::new(), message),
        other @ NodeError::UnknownPlan(_) => (Code::Kernel, String::new(), other.to_string()),
    };
    proto::PlanRefused {
        plan_id,
        code: code.into(),
        field,
        message,
    }
}

impl TryFrom<proto::PlanUpdate> for FromNode {
    type Error = Malformed;

    fn try_from(wire: proto::PlanUpdate) -> Result<Self, Malformed> {
        let status = wire
            .status
            .map(crate::node::PlanStatus::try_from)
            .transpose()?;
        if status
            .as_ref()
            .is_some_and(|status| status.id != wire.plan_id)
        {
            return Err(Malformed::new(
                "PlanUpdate",
                "has the status of another plan",
            ));
        }
        match (wire.ended, status) {
            (Some(end), status) => Ok(Self::Ended {
                plan: wire.plan_id,
                status,
                reason: Some(end.reason).filter(|reason| !reason.is_empty()),
            }),
            (None, Some(status)) => Ok(Self::Live(status)),
            (None, None) => Err(Malformed::new("PlanUpdate", "says nothing")),
        }
    }
}

impl From<proto::PlanRefused> for FromNode {
    fn from(wire: proto::PlanRefused) -> Self {
        let error = match wire.code() {
            Code::BadPlan => NodeError::BadPlan {
                field: wire.field,
                problem: wire.message,
            },
            Code::Unsupported => NodeError::Unsupported(wire.message),
            Code::Kernel | Code::Unspecified => NodeError::Kernel(wire.message),
        };
        Self::Refused {
            plan: wire.plan_id,
            error,
        }
    }
}
