//! Custom resources: definitions are named, established and published; their instances converted and cleaned up.
//!
//! Invariants: a definition is served before it is called established; it goes when its last instance has gone;
//! everything here is woken by a change of a definition or of an instance.

mod conditions;
mod controller;
mod convert;

pub(crate) use controller::{Controller, load};
pub(crate) use convert::Webhooks;
