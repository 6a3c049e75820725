//! `SchedulerService`: experiments over gRPC.

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{MAX_ANSWER, MAX_REQUEST, error::status_of, proto};
use crate::{
    experiment::Violation,
    scheduler::{Error, Scheduler},
};
use proto::scheduler_service_server::{SchedulerService, SchedulerServiceServer};

/// Serves a [`Scheduler`] to those who want experiments.
#[derive(Clone, Debug)]
pub struct Experiments(Scheduler);

impl Experiments {
    /// The service, with its limits.
    pub fn service(scheduler: Scheduler) -> SchedulerServiceServer<Self> {
        SchedulerServiceServer::new(Self(scheduler))
            .max_decoding_message_size(MAX_REQUEST)
            .max_encoding_message_size(MAX_ANSWER)
    }
}

#[tonic::async_trait]
impl SchedulerService for Experiments {
    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::ApplyResponse>, Status> {
        let request = request.into_inner();
        let experiment = request
            .experiment
            .ok_or_else(|| Violation::new("experiment", "is missing").into())
            .and_then(TryInto::try_into)
            .map_err(|violations| status_of(&Error::Invalid(violations)))?;
        let status = self
            .0
            .apply(experiment, &request.node)
            .await
            .map_err(|e| status_of(&e))?;
        Ok(Response::new(proto::ApplyResponse {
            status: Some((&status).into()),
        }))
    }

    async fn stop(
        &self,
        request: Request<proto::StopRequest>,
    ) -> Result<Response<proto::StopResponse>, Status> {
        let status = self
            .0
            .stop(&request.into_inner().name)
            .await
            .map_err(|e| status_of(&e))?;
        Ok(Response::new(proto::StopResponse {
            status: Some((&status).into()),
        }))
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let found = match request.into_inner().name.as_str() {
            "" => self.0.list(),
            name => vec![self.0.find(name).map_err(|e| status_of(&e))?],
        };
        Ok(Response::new(proto::ListResponse {
            experiments: found.iter().map(Into::into).collect(),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().name;
        let name = Some(name.as_str()).filter(|name| !name.is_empty());
        let changes = self
            .0
            .watch(name)
            .map_err(|e| status_of(&e))?
            .map(|status| {
                Ok(proto::WatchResponse {
                    status: Some((&status).into()),
                })
            });
        Ok(Response::new(Box::pin(changes)))
    }
}
