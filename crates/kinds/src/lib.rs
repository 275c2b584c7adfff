//! The built-in kinds: one row each in [`table`], and one file each for what is particular.
//!
//! Invariant: adding a kind touches its row and its file, nothing else. Nothing here does I/O: strategies are pure
//! functions of objects.

mod address;
mod apps;
mod autoscaler;
mod batch;
mod certificate;
mod cluster;
mod common;
mod core;
mod csr;
pub mod custom;
mod declared;
mod device;
mod extension;
mod metadata;
mod network;
mod older;
mod optional;
mod print;
mod quota;
mod rbac;
mod read;
mod revision;
mod row;
mod rules;
mod storage;
mod strategy;
mod table;
mod template;
mod volume;

pub use core::service_addresses;
pub use extension::flow::mandatory_flow;
pub use metadata::{validate_metadata, validate_metadata_update};
pub use row::{Dependents, Deprecation, Kind, Served, Subresource, Text, Verb};
pub use strategy::{Plain, Strategy};
pub use table::all;
