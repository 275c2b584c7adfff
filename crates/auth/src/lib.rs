//! Who asks and what they may do: PKI, authenticators, authorizers, the bootstrap policy.
//!
//! Invariants: no identity without a credential that was checked; no default password, key or token in the code; a
//! decision costs no request to the store.

mod authenticate;
mod authorize;

pub use authenticate::{Authenticated, Authenticator, Credentials};
pub use authorize::{Attributes, Authorizer, Decision, ResourceRule, Rules};
