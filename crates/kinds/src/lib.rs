//! The built-in kinds: one row each in [`table`], and one file each for what is particular.
//!
//! Invariant: adding a kind touches its row and its file, nothing else. Nothing here does I/O: strategies are pure
//! functions of objects.

mod row;
mod strategy;
pub mod table;

pub use row::{Kind, Served, Subresource, Text, Verb};
pub use strategy::{Plain, Strategy};
