//! The Common Expression Language as Kubernetes speaks it: [`Environment`] compiles, [`Program`] evaluates.
//!
//! Invariants: values are JSON, read where they lie; no expression costs more than its [`Budget`], none panics, and
//! messages, costs and limits are those of the stock server.

pub mod admission;
mod ast;
mod check;
mod clauses;
mod compare;
mod cost;
mod decl;
mod decls;
pub mod device;
mod env;
mod error;
mod estimate;
mod eval;
mod lexer;
mod library;
mod macros;
pub mod metrics;
mod parser;
mod program;
mod stack;
mod types;
mod unify;
mod value;

pub use decl::{Decl, Identity, MAX_REQUEST, Shape, escape};
pub use env::Environment;
pub use error::{CompileError, Error, Issue};
pub use estimate::{Cost, Size};
pub use library::authorizer::{Check, Decision};
pub use library::opaque::Opaque;
pub use library::regex::build as pattern;
pub use library::url::is_url;
pub use parser::RESERVED;
pub use program::{Activation, Budget, PER_CALL_LIMIT, Program, TOTAL_LIMIT, authorizer, resource_check};
pub use types::Type;
pub use value::{Fields, List, Struct, Text, Val};
