//! Schemas of custom resources: which are structural, and what they prune, default and refuse.
//!
//! Invariant: everything here is a pure function of schemas and JSON values; hostile ones cost no more than their size.

pub mod check;
pub mod default;
pub mod definition;
pub mod embedded;
pub mod formats;
pub mod jsonpath;
pub mod lists;
pub mod paths;
pub mod prune;
pub mod rules;
pub mod schema;
pub mod shapes;
pub mod shown;
pub mod validate;

pub use ironclad_cel::pattern;
pub use jsonpath::JsonPath;
pub use rules::Rules;
pub use schema::{Additional, Checks, ListType, Rule, Schema, Type};
