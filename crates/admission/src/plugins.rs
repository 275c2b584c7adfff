//! The plugins, one file for each idea, and the chain of those that are on by default.

mod accounts;
mod certificates;
mod classes;
mod escalation;
mod limits;
mod namespaces;
mod nodes;
mod owners;
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

/// Plugins that are off unless they are turned on.
const OFF: [&str; 1] = ["OwnerReferencesPermissionEnforcement"];

/// The plugins that are on by default. Follows configuration in tasks of the current runtime.
pub fn default_chain(parts: &Parts) -> Chain {
    Chain::new(all(parts).into_iter().filter(|p| !OFF.contains(&p.name())).collect())
}

/// The plugins that are on when some are turned on and others off, by the names in `--enable-admission-plugins` and
/// `--disable-admission-plugins`. A name that no plugin has is an error.
pub fn chain(parts: &Parts, enable: &[String], disable: &[String]) -> Result<Chain, String> {
    let all = all(parts);
    let known = |name: &&String| all.iter().any(|p| p.name() == **name);
    if let Some(unknown) = enable.iter().chain(disable).find(|name| !known(name)) {
        return Err(format!("admission-control plugin {unknown:?} is unknown"));
    }
    if let Some(both) = enable.iter().find(|name| disable.contains(name)) {
        return Err(format!("{both} in enable-admission-plugins and disable-admission-plugins overlapped"));
    }
    let named = |list: &[String], name: &str| list.iter().any(|l| l == name);
    let on = |name: &str| named(enable, name) || (!OFF.contains(&name) && !named(disable, name));
    Ok(Chain::new(all.into_iter().filter(|p| on(p.name())).collect()))
}

/// Every plugin, in stock's order.
fn all(parts: &Parts) -> Vec<Arc<dyn Plugin>> {
    let (source, authorizer) = (|| parts.source.clone(), || parts.authorizer.clone());
    let judges = || Judges { source: source(), authorizer: authorizer(), world: parts.world.clone() };
    vec![
        Arc::new(namespaces::Lifecycle::new(source(), parts.ledger.clone())),
        Arc::new(limits::LimitRanger::new(source())),
        Arc::new(accounts::ServiceAccounts::new(source(), parts.ledger.clone())),
        Arc::new(nodes::NodeRestriction::new(source(), authorizer())),
        Arc::new(nodes::TaintNewNodes),
        Arc::new(pod_security::PodSecurity::new(source())),
        Arc::new(pods::Priority::new(source())),
        Arc::new(pods::DefaultTolerations),
        Arc::new(storage::DefaultClass::new(source())),
        Arc::new(storage::Protection),
        Arc::new(owners::Owners::new(authorizer(), parts.world.clone())),
        Arc::new(storage::Resize::new(source())),
        Arc::new(classes::Runtime::new(source())),
        Arc::new(certificates::Signers::approval(authorizer())),
        Arc::new(certificates::Signers::signing(authorizer())),
        Arc::new(certificates::Attest::new(authorizer())),
        Arc::new(certificates::Subjects),
        Arc::new(classes::DefaultIngress::new(source())),
        Arc::new(pods::Topology::new(source())),
        Arc::new(escalation::Escalation::new(source(), authorizer())),
        Arc::new(policy::Grants::new(judges())),
        Arc::new(policy::Mutating::new(judges())),
        Arc::new(webhooks::Mutating::new(judges())),
        Arc::new(policy::Validating::new(judges())),
        Arc::new(webhooks::Validating::new(judges())),
        // The last: what it grants is charged.
        Arc::new(quota::ResourceQuota::new(source(), parts.ledger.clone())),
    ]
}
