//! Which node a pod runs on: a queue of pods, a cache of nodes, plugins that filter and score, and a binding.
//!
//! Invariants: a decision is a pure function of a pod and the cache; a pod counts on its node from the decision on
//! (it is assumed), not only when the binding comes back; a pod that does not fit waits for a change that can help it.

mod algorithm;
mod cache;
mod metrics;
mod node;
mod plugins;
mod pod;
mod queue;
mod resources;
mod run;

pub use run::{Config, run};
