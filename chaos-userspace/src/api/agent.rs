//! `AgentService`: the scheduler's end of an agent's session.

use std::{pin::Pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{MAX_REPORT, error::status_of, proto, session::down};
use crate::scheduler::{Error, FromNode, Link, Scheduler};
use proto::{
    agent_message::Message as Up,
    agent_service_server::{AgentService, AgentServiceServer},
    scheduler_message::Message as Down,
};

/// An agent introduces itself within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Orders that an agent may leave unread: more than one for each live experiment.
const MAX_UNREAD: usize = 1024;

/// Serves a [`Scheduler`] to agents.
#[derive(Clone, Debug)]
pub struct Agents(Scheduler);

impl Agents {
    /// The service.
    pub fn service(scheduler: Scheduler) -> AgentServiceServer<Self> {
        AgentServiceServer::new(Self(scheduler)).max_decoding_message_size(MAX_REPORT)
    }
}

#[tonic::async_trait]
impl AgentService for Agents {
    type SessionStream =
        Pin<Box<dyn Stream<Item = Result<proto::SchedulerMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let first = timeout(HELLO_TIMEOUT, inbound.message())
            .await
            .map_err(|_elapsed| Status::deadline_exceeded("no Hello came"))??;
        let Some(Up::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message is not a Hello"));
        };
        let link = self
            .0
            .attach(&hello.into())
            .map_err(|error| status_of(&error))?;
        let (outbound, stream) = mpsc::channel(MAX_UNREAD);
        let session = Session {
            scheduler: self.0.clone(),
            link,
            inbound,
            outbound,
        };
        tokio::spawn(session.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

struct Session {
    scheduler: Scheduler,
    link: Link,
    inbound: Streaming<proto::AgentMessage>,
    outbound: mpsc::Sender<Result<proto::SchedulerMessage, Status>>,
}

impl Session {
    async fn run(mut self) {
        let why = match self.exchange().await {
            Ok(why) => why.to_owned(),
            Err(status) => {
                let why = status.message().to_owned();
                // It may well be the stream itself that failed.
                drop(self.outbound.try_send(Err(status)));
                why
            }
        };
        tracing::info!(node = self.link.node(), why, "node disconnected");
    }

    /// Until the session is over; says why.
    async fn exchange(&mut self) -> Result<&'static str, Status> {
        let scheduler = self.scheduler.clone();
        let heartbeat = scheduler.config().heartbeat;
        let mut beats = tokio::time::interval(heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_heard = Instant::now();
        self.send(Down::Welcome(proto::Welcome {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heartbeat: heartbeat.try_into().ok(),
        }))?;
        loop {
            tokio::select! {
                message = self.inbound.message() => {
                    last_heard = Instant::now();
                    match message? {
                        Some(message) => self.received(message)?,
                        None => return Ok("it hung up"),
                    }
                }
                order = self.link.order() => match order {
                    Some(order) => self.send(order.into())?,
                    None => return Err(status_of(&Error::Closing)),
                },
                _ = beats.tick() => self.send(Down::Heartbeat(proto::Heartbeat {}))?,
                () = tokio::time::sleep_until(last_heard + 3 * heartbeat) => {
                    return Err(Status::deadline_exceeded("nothing heard for three heartbeats"));
                }
                () = scheduler.closed() => return Err(status_of(&Error::Closing)),
            }
        }
    }

    fn received(&self, message: proto::AgentMessage) -> Result<(), Status> {
        match message.message {
            Some(Up::Update(update)) => {
                let update = FromNode::try_from(update)
                    .map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
                self.link.tell(update);
            }
            Some(Up::Refused(refused)) => self.link.tell(refused.into()),
            Some(Up::Hello(_)) => return Err(Status::invalid_argument("a second Hello")),
            // A newer agent may have more to say.
            Some(Up::Heartbeat(_)) | None => self.link.heard(),
        }
        Ok(())
    }

    /// Never waits: an agent that does not read is as good as gone.
    fn send(&self, message: Down) -> Result<(), Status> {
        self.outbound
            .try_send(Ok(down(message)))
            .map_err(|_full| Status::resource_exhausted("it does not read its orders"))
    }
}
