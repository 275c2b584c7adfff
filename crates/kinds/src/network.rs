//! Ingresses and network policies.

pub(crate) mod ingress;
pub(crate) mod policy;
