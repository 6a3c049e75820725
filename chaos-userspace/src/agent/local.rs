//! The agent's own scheduler, in the same process.

use super::{
    Config, SharedNode,
    worker::{self, Order, Worker},
};
use crate::scheduler::{Error, Link, Scheduler, draw};

/// Gives the scheduler this node, at once, until the scheduler is closed or the future is dropped.
///
/// When the future returns everything has ended.
///
/// # Errors
/// The scheduler has a node of that name already.
pub fn serve_local(
    scheduler: &Scheduler,
    node: SharedNode,
    config: &Config,
) -> Result<impl Future<Output = ()> + Send + use<>, Error> {
    let instance = format!("{:016x}", draw());
    let link = scheduler.attach(&config.hello(&instance, Vec::new()))?;
    let (every, state) = (config.report_every, config.state.clone());
    Ok(async move { serve(link, worker::spawn(node, every, state)).await })
}

async fn serve(mut link: Link, worker: Worker) {
    let Worker {
        orders,
        mut events,
        task,
    } = worker;
    loop {
        tokio::select! {
            order = link.order() => match order {
                Some(order) => if orders.send(Order::Scheduler(order)).is_err() { break },
                None => break,
            },
            event = events.recv() => match event {
                Some(event) => link.tell(event),
                None => break,
            },
        }
    }
    drop(orders);
    while let Some(event) = events.recv().await {
        link.tell(event);
    }
    if let Err(panic) = task.await {
        tracing::error!(%panic, "the worker failed");
    }
}
