//! The plugins, one file for each idea, and the chain of those that are on by default.

mod accounts;
mod certificates;
mod classes;
mod escalation;
mod limits;
mod namespaces;
mod nodes;
mod pod_security;
mod pods;
pub(crate) mod quota;
mod storage;

use crate::expressions::Judges;
use crate::world::World;
use crate::{Chain, Plugin, Request, policy, webhooks};
use ironclad_api::source::Source;
use ironclad_auth::Authorizer;
use std::sync::Arc;

/// Whether a request is about objects of this resource themselves, not a subresource of theirs.
fn is(request: &Request, group: &str, resource: &str) -> bool {
    request.resource.group == group && request.resource.resource == resource && request.subresource.is_empty()
}

/// What plugins work with.
pub struct Parts {
    /// Other objects.
    pub source: Arc<dyn Source>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// The kinds that are served.
    pub world: Arc<dyn World>,
    /// The store itself, for what no cache has yet and for quotas.
    pub ledger: Arc<dyn quota::Ledger>,
}

/// The plugins that are on by default, in stock's order. Follows configuration in tasks of the current runtime.
pub fn default_chain(parts: &Parts) -> Chain {
    let (source, authorizer) = (|| parts.source.clone(), || parts.authorizer.clone());
    let judges = || Judges { source: source(), authorizer: authorizer(), world: parts.world.clone() };
    let plugins: Vec<Arc<dyn Plugin>> = vec![
        Arc::new(namespaces::Lifecycle::new(source(), parts.ledger.clone())),
        Arc::new(limits::LimitRanger::new(source())),
        Arc::new(accounts::ServiceAccounts::new(source(), parts.ledger.clone())),
        Arc::new(nodes::NodeRestriction::new(source())),
        Arc::new(nodes::TaintNewNodes),
        Arc::new(pod_security::PodSecurity::new(source())),
        Arc::new(pods::Priority::new(source())),
        Arc::new(pods::DefaultTolerations),
        Arc::new(storage::DefaultClass::new(source())),
        Arc::new(storage::Protection),
        Arc::new(storage::Resize::new(source())),
        Arc::new(classes::Runtime::new(source())),
        Arc::new(certificates::Signers::approval(authorizer())),
        Arc::new(certificates::Signers::signing(authorizer())),
        Arc::new(certificates::Attest::new(authorizer())),
        Arc::new(certificates::Subjects),
        Arc::new(classes::DefaultIngress::new(source())),
        Arc::new(pods::Topology::new(source())),
        Arc::new(escalation::Escalation::new(source(), authorizer())),
        Arc::new(policy::Mutating::new(judges())),
        Arc::new(webhooks::Mutating::new(judges())),
        Arc::new(policy::Validating::new(judges())),
        Arc::new(webhooks::Validating::new(judges())),
        // The last: what it grants is charged.
        Arc::new(quota::ResourceQuota::new(source(), parts.ledger.clone())),
    ];
    Chain::new(plugins)
}
