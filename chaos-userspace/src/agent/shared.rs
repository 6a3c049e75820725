//! One node for several callers, off the threads that must not block.

use std::sync::{Arc, Mutex, PoisonError};

use crate::node::{NodeControl, NodeError};

/// A node that is used by one caller at a time. Dropping the last clone drops the node.
#[derive(Clone, Debug)]
pub struct SharedNode(Arc<Mutex<Box<dyn NodeControl>>>);

impl SharedNode {
    /// Shares a node.
    pub fn new(node: impl NodeControl) -> Self {
        Self(Arc::new(Mutex::new(Box::new(node))))
    }

    /// Calls the node on a thread that may block.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn NodeControl) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let node = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let mut node = node.lock().unwrap_or_else(PoisonError::into_inner);
            call(node.as_mut())
        })
        .await
        .unwrap_or_else(|panic| Err(NodeError::Kernel(format!("the node failed: {panic}"))))
    }
}
