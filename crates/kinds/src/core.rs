//! The core group, and Events and EndpointSlices, which began there.

pub(crate) mod config;
mod endpoint_slice;
mod endpoints;
mod event;
mod event_rules;
mod namespace;
mod node;
mod node_rules;
mod pod;
mod pod_resize;
mod pod_table;
mod pod_update;
mod service;
pub(crate) mod service_rules;
mod service_update;

pub(crate) use config::{ConfigMap, Secret, ServiceAccount, config_key};
pub(crate) use endpoint_slice::SLICE;
pub(crate) use endpoints::ENDPOINTS;
pub(crate) use event::{Event, EventsEvent};
pub(crate) use namespace::Namespace;
pub(crate) use node::Node;
pub(crate) use pod::Pod;
pub(crate) use service::Service;
pub use service_rules::service_addresses;
