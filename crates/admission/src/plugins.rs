//! The plugins, one file each, and the chain of those that are on by default.

mod accounts;
mod namespaces;
mod pods;

use crate::{Chain, Plugin};
use ironclad_api::source::Source;
use std::sync::Arc;

/// The plugins that are on by default, in stock's order.
pub fn default_chain(source: &Arc<dyn Source>) -> Chain {
    let plugins: Vec<Arc<dyn Plugin>> = vec![
        Arc::new(namespaces::Lifecycle::new(source.clone())),
        Arc::new(accounts::ServiceAccounts::new(source.clone())),
        Arc::new(pods::Priority::new(source.clone())),
        Arc::new(pods::DefaultTolerations),
    ];
    Chain::new(plugins)
}
