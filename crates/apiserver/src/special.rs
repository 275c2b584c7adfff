//! What is particular to single resources: addresses of Services, bindings, evictions, reviews, tokens, kubelets;
//! connections that become something else.

pub(crate) mod allocate;
pub(crate) mod bootstrap;
pub(crate) mod budget;
pub(crate) mod components;
pub(crate) mod endpoints;
pub(crate) mod identity;
pub(crate) mod kubelet;
pub(crate) mod late;
pub(crate) mod pods;
pub(crate) mod reviews;
pub(crate) mod rewrite;
pub(crate) mod socket;
mod streams;
pub(crate) mod upgrade;
