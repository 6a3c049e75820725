//! The session with a scheduler that the agent dials, over and over.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Endpoint};

use super::{
    Config, SharedNode,
    worker::{self, Order, Worker},
};
use crate::{
    api::{
        MAX_REQUEST, dial,
        proto::{
            self, agent_message::Message as Up, agent_service_client::AgentServiceClient,
            scheduler_message::Message as Down,
        },
        session::up,
    },
    experiment::format_duration,
    node::Plan,
    scheduler::{FromNode, ToNode, draw},
};

/// Messages that a scheduler may leave unread before the session is given up.
const MAX_UNREAD: usize = 1024;

/// An attempt to open a session may take so long.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a scheduler is, checked: `http://127.0.0.1:7410` or `unix:///path`.
#[derive(Clone, Debug)]
pub struct Contact {
    url: String,
    endpoint: Endpoint,
}

/// The address of a scheduler can't be used.
#[derive(Debug, thiserror::Error)]
#[error("'{url}' is not a scheduler's address: {problem}")]
pub struct ContactError {
    url: String,
    problem: String,
}

/// Reads an address.
///
/// # Errors
/// What is wrong with it.
pub fn dial(url: &str) -> Result<Contact, ContactError> {
    let refuse = |problem: String| ContactError {
        url: url.to_owned(),
        problem,
    };
    let endpoint = dial::endpoint(url).map_err(refuse)?;
    Ok(Contact {
        url: url.to_owned(),
        endpoint: endpoint.connect_timeout(OPEN_TIMEOUT).tcp_nodelay(true),
    })
}

impl Contact {
    /// Holds sessions, one after the other, and carries out what the scheduler asks for.
    ///
    /// Returns once `stopping` is true and everything has ended.
    pub async fn hold(self, node: SharedNode, config: Config, stopping: watch::Receiver<bool>) {
        let worker = worker::spawn(node, config.report_every, config.state.clone());
        let session = Session {
            instance: format!("{:016x}", draw()),
            contact: self,
            config,
            stopping,
            worker,
            live: BTreeSet::new(),
            unsent: Vec::new(),
            last_heard: Instant::now(),
        };
        session.run().await;
    }
}

struct Session {
    contact: Contact,
    config: Config,
    instance: String,
    stopping: watch::Receiver<bool>,
    worker: Worker,
    /// Plans that this scheduler has here, as far as it was told.
    live: BTreeSet<String>,
    /// Last words about plans, to be said in the next session.
    unsent: Vec<FromNode>,
    last_heard: Instant,
}

/// An open session.
struct Stream {
    outbound: mpsc::Sender<proto::AgentMessage>,
    inbound: Streaming<proto::SchedulerMessage>,
}

impl Session {
    async fn run(mut self) {
        let mut backoff = self.config.min_backoff;
        loop {
            let hello = self.hello();
            let attempt = timeout(OPEN_TIMEOUT, open(self.contact.endpoint.clone(), hello));
            let Some(opened) = self.meanwhile(attempt).await else {
                break;
            };
            let opened = opened
                .unwrap_or_else(|_elapsed| Err(Status::deadline_exceeded("no answer in time")));
            match opened {
                Ok(mut stream) => {
                    tracing::info!(scheduler = self.contact.url, "session opened");
                    backoff = self.config.min_backoff;
                    let why = self.exchange(&mut stream).await;
                    let why = why.as_ref().map_or_else(Status::message, |why| *why);
                    tracing::warn!(scheduler = self.contact.url, why, "session over");
                }
                Err(status) => {
                    let why = reason(&status);
                    tracing::warn!(scheduler = self.contact.url, why, "no session");
                }
            }
            if self.is_stopping() {
                break;
            }
            // Many agents must not come back in step.
            let pause = backoff / 2 + backoff / 2 * u32::from(draw().to_le_bytes()[0]) / 255;
            if self.meanwhile(sleep(pause)).await.is_none() {
                break;
            }
            backoff = (backoff * 2).min(self.config.max_backoff);
        }
        drop(self.worker.orders);
        if let Err(panic) = self.worker.task.await {
            tracing::error!(%panic, "the worker failed");
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Says what is still unsaid about the plans here, besides who this is.
    fn hello(&self) -> proto::Hello {
        let mut plans = self.live.clone();
        plans.extend(self.unsent.iter().map(|event| plan_of(event).to_owned()));
        self.config
            .hello(&self.instance, plans.into_iter().collect())
            .into()
    }

    /// Awaits something while there is no session; `None` when the agent is stopping.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Option<F::Output> {
        tokio::pin!(future);
        loop {
            let lost_at = self.last_heard + self.config.contact_timeout;
            tokio::select! {
                output = &mut future => return Some(output),
                event = self.worker.events.recv() => self.keep(event?),
                () = sleep_until(lost_at), if !self.live.is_empty() => self.lose_contact(),
                () = stop_of(&mut self.stopping) => return None,
            }
        }
    }

    /// Last words wait for the next session; counters don't.
    fn keep(&mut self, event: FromNode) {
        match event {
            FromNode::Live(_) => {}
            FromNode::Ended { ref plan, .. } | FromNode::Refused { ref plan, .. } => {
                self.live.remove(plan);
                self.unsent.push(event);
            }
        }
    }

    fn lose_contact(&mut self) {
        let silence = format_duration(self.config.contact_timeout);
        tracing::warn!(
            plans = self.live.len(),
            silence,
            "contact lost: ending every plan"
        );
        let reason = format!("contact lost: nothing heard from the scheduler for {silence}");
        self.order(Order::EndAll { reason });
        self.live.clear();
    }

    fn order(&self, order: Order) {
        if self.worker.orders.send(order).is_err() {
            tracing::error!("the worker is gone");
        }
    }

    /// Until the session is over; says why.
    async fn exchange(&mut self, stream: &mut Stream) -> Result<&'static str, Status> {
        self.last_heard = Instant::now();
        for event in std::mem::take(&mut self.unsent) {
            stream.send(event.into())?;
        }
        let mut beats = interval(self.config.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let silent_at = self.last_heard + 3 * self.config.heartbeat;
            tokio::select! {
                message = stream.inbound.message() => match message? {
                    Some(message) => {
                        self.last_heard = Instant::now();
                        self.received(stream, message)?;
                    }
                    None => return Ok("the scheduler hung up"),
                },
                event = self.worker.events.recv() => match event {
                    Some(event) => self.tell(stream, event)?,
                    None => return Ok("the worker is gone"),
                },
                _ = beats.tick() => stream.send(Up::Heartbeat(proto::Heartbeat {}))?,
                () = sleep_until(silent_at) => return Ok("nothing heard for three heartbeats"),
                () = stop_of(&mut self.stopping) => {
                    return self.say_goodbye(stream).await;
                }
            }
        }
    }

    fn received(
        &mut self,
        stream: &Stream,
        message: proto::SchedulerMessage,
    ) -> Result<(), Status> {
        match message.message {
            Some(Down::Apply(wire)) => match Plan::try_from(wire) {
                Ok(plan) => {
                    self.live.insert(plan.id.clone());
                    self.order(Order::Scheduler(ToNode::Apply(plan)));
                }
                Err(refusal) => stream.send(refusal.into())?,
            },
            Some(Down::Stop(proto::StopPlan { plan_id: plan })) => {
                self.order(Order::Scheduler(ToNode::Stop { plan }));
            }
            Some(Down::Welcome(welcome)) => {
                tracing::debug!(version = welcome.version, "welcome");
            }
            // A newer scheduler may have more to say.
            Some(Down::Heartbeat(_)) | None => {}
        }
        Ok(())
    }

    fn tell(&mut self, stream: &Stream, event: FromNode) -> Result<(), Status> {
        if !matches!(event, FromNode::Live(_)) {
            self.live.remove(plan_of(&event));
        }
        stream.send(event.into())
    }

    /// Ends every plan and reports the last counters.
    async fn say_goodbye(&mut self, stream: &mut Stream) -> Result<&'static str, Status> {
        let reason = "its agent has stopped".to_owned();
        self.order(Order::EndAll { reason });
        let until = Instant::now() + self.config.stop_timeout;
        while !self.live.is_empty() {
            tokio::select! {
                event = self.worker.events.recv() => match event {
                    Some(event) => self.tell(stream, event)?,
                    None => break,
                },
                () = sleep_until(until) => break,
            }
        }
        // The scheduler hangs up once it has read everything.
        let (closed, _) = mpsc::channel(1);
        stream.outbound = closed;
        let drained = async { while let Ok(Some(_)) = stream.inbound.message().await {} };
        drop(timeout(Duration::from_secs(1), drained).await);
        Ok("the agent is stopping")
    }
}

impl Stream {
    /// Never waits: a scheduler that does not read is as good as gone.
    fn send(&self, message: Up) -> Result<(), Status> {
        self.outbound
            .try_send(up(message))
            .map_err(|_full| Status::resource_exhausted("the scheduler does not read"))
    }
}

async fn open(endpoint: Endpoint, hello: proto::Hello) -> Result<Stream, Status> {
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let (outbound, messages) = mpsc::channel(MAX_UNREAD);
    let hello = outbound.try_send(up(Up::Hello(hello)));
    hello.map_err(|error| Status::internal(error.to_string()))?;
    let mut client = AgentServiceClient::new(channel).max_decoding_message_size(2 * MAX_REQUEST);
    let inbound = client
        .session(ReceiverStream::new(messages))
        .await?
        .into_inner();
    Ok(Stream { outbound, inbound })
}

/// Returns when the agent is stopping.
async fn stop_of(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

fn plan_of(event: &FromNode) -> &str {
    match event {
        FromNode::Live(status) => &status.id,
        FromNode::Ended { plan, .. } | FromNode::Refused { plan, .. } => plan,
    }
}

/// The innermost cause is the one that helps.
fn reason(status: &Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    }
}
