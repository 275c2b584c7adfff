//! JSON values that are shared until they are changed: what every write of the API works on.
//!
//! Invariants: a clone costs one count, whatever its size, and a change copies only the levels on its way; members of
//! objects stand in the order of their names; names and short texts lie in place. Everything else is as in
//! `serde_json`, whose functions read and write these values.

mod build;
mod change;
mod equal;
mod from;
mod index;
mod list;
mod macros;
mod map;
mod read;
mod value;
mod write;

pub use change::diverging;
pub use list::List;
pub use macros::{BySerde, ByShare, Wrap};
pub use map::{Entry, Fate, Map};
pub use read::from_value;
pub use serde_json::{Error, Number};
pub use value::Value;
pub use write::to_value;

/// A text that lies in place while it is short: names of members, and texts.
pub type Text = compact_str::CompactString;
