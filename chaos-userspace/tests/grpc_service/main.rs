//! The services of an agent and of a scheduler over real sockets, with nodes that have no kernel.

#[cfg(test)]
mod commands;
#[cfg(test)]
mod local;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod support;
