//! Containers: images, sandboxes, containers, streams and the shim.
//!
//! Invariants: a container's life does not depend on this process, only on its pod's shim, which this process finds again
//! after a restart; everything made on the machine carries the cluster's name or lies in its directories, and
//! [`Embedded::purge`] removes it.

mod cgroup;
mod devices;
mod embedded;
mod images;
mod oci;
mod seccomp;
mod shim;
mod spec;
mod state;
mod sys;

pub use embedded::{Config, Embedded};
pub use images::registry::RegistryConfig;
pub use images::store::ImageStore;
pub use shim::shim_main;
