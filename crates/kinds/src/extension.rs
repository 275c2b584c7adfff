//! What extends and guards the API.

pub(crate) mod admission;
pub(crate) mod api_service;
pub(crate) mod crd;
pub(crate) mod flow;
