//! Terms that every part of the cluster shares: errors, field paths, selectors, quantities, names, resources, users.
//!
//! Invariant: this crate knows nothing of HTTP servers, storage or schemas; it holds plain data and pure functions.

pub mod config;
pub mod error;
pub mod expiring;
pub mod features;
pub mod field;
pub mod labels;
pub mod metrics;
pub mod names;
pub mod object;
pub mod pod_resources;
pub mod quantity;
pub mod quota;
pub mod resource;
pub mod selector;
pub mod shape;
pub mod source;
pub mod table;
pub mod time;
pub mod url;
pub mod user;
pub mod yaml;

pub use error::{ApiError, Cause, Reason};
pub use field::{ErrorList, FieldError, Path, go_quote, is_print};
pub use resource::{GroupResource, GroupVersionKind, GroupVersionResource};
pub use user::UserInfo;

/// The Kubernetes release whose API is served.
pub const KUBERNETES_VERSION: &str = "v1.37.0";
