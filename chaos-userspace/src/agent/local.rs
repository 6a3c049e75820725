//! The agent's own scheduler, in the same process.

use super::{
    Config, SharedNode,
    worker::{self, Order, Worker},
};
use crate::scheduler::{Error, Scheduler, draw};

/// Gives the scheduler this node until the scheduler is closed; then everything has ended.
///
/// # Errors
/// The scheduler has a node of that name already.
pub async fn serve_local(
    scheduler: &Scheduler,
    node: SharedNode,
    config: &Config,
) -> Result<(), Error> {
    let instance = format!("{:016x}", draw());
    let mut link = scheduler.attach(&config.hello(&instance, Vec::new()))?;
    let Worker {
        orders,
        mut events,
        task,
    } = worker::spawn(node, config.report_every);
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
    Ok(())
}
