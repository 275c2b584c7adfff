//! The built-in kinds: one row each in [`table`], and one file each for what is particular.
//!
//! Invariant: adding a kind touches its row and its file, nothing else. Nothing here does I/O: strategies are pure
//! functions of objects.

mod apps;
mod common;
mod core;
mod metadata;
mod others;
mod row;
mod strategy;
mod table;

pub use metadata::{validate_metadata, validate_metadata_update};
pub use row::{Kind, Served, Subresource, Text, Verb};
pub use strategy::{Plain, Strategy};
pub use table::all;
