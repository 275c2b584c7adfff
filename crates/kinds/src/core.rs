//! The core group, and Events and EndpointSlices, which began there.

mod config;
mod endpoints;
mod event;
mod namespace;
mod node;
mod pod;
mod pod_table;
mod pod_update;
mod service;

pub(crate) use config::{ConfigMap, Secret, ServiceAccount};
pub(crate) use endpoints::{EndpointSlice, Endpoints};
pub(crate) use event::{Event, EventsEvent};
pub(crate) use namespace::Namespace;
pub(crate) use node::Node;
pub(crate) use pod::Pod;
pub(crate) use service::Service;
