//! Ingresses and network policies.

pub(crate) mod class;
pub(crate) mod ingress;
mod ingress_rules;
pub(crate) mod policy;
