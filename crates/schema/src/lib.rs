//! The schema bundle and what reads it: decoding checks, patches, server-side apply, OpenAPI.
//!
//! Invariant: everything works on JSON values and on [`Shape`]s; nothing here knows a particular kind. A custom
//! resource's schema becomes a `Shape` too and goes the same road.

pub mod apply;
mod bundle;
pub mod cbor;
pub mod check;
mod empties;
mod facts;
pub mod json;
mod moment;
pub mod openapi;
pub mod patch;
pub mod proto;
mod shown;

pub use bundle::{Bundle, Field, List, Scalar, Shape, Type, TypeId, Zero, bundle};
pub use empties::{Empties, Which};
pub use facts::enums::values;
pub use shown::shown;
