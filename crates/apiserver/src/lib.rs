//! HTTP in, objects out: request info, authentication, authorization, admission, registry, store; watch; discovery.
//!
//! Invariants: every write passes authentication, authorization and admission; an object is encoded once, when it is
//! written, and lists, watches and answers share those bytes; nothing is acknowledged before the store has it.

mod accept;
mod aggregate;
mod audited;
mod authn;
mod binary;
mod body;
mod cache;
mod catalog;
mod compress;
mod custom;
mod discovery;
mod door;
mod enablement;
mod encode;
mod flow;
mod handler;
mod health;
mod limits;
mod listener;
mod metrics;
mod nonresource;
mod openapi;
mod pages;
mod pretty;
mod reader;
mod registry;
mod request;
mod respond;
mod routes;
mod rows;
mod selection;
mod server;
mod special;
mod stock;
mod table;
#[doc(hidden)]
pub mod untrusted;
mod world;
mod yaml;

pub use audited::Auditor;
pub use enablement::RuntimeConfig;
pub use health::Checks;
pub use limits::Load;
pub use pages::{About, Part};
pub use reader::Reader;
pub use server::{ApiServer, Config, KubeletAccess, Prepared, TokenIssuer};
pub use special::identity::identity;
pub use stock::StockCodec;

/// A body that goes out.
pub type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, tower::BoxError>;
