//! The plugins, one file for each idea, the table of all of them in stock's order, and the chain of those that are on.

mod accounts;
mod certificates;
mod classes;
mod default_class;
mod devices;
mod escalation;
mod events;
mod images;
mod limits;
mod namespaces;
mod nodes;
mod owners;
mod plain;
mod pod_security;
mod pods;
pub(crate) mod quota;
mod resize;
mod secrets;
mod selectors;
mod storage;
mod tolerations;

use crate::config::Configurations;
use crate::expressions::Judges;
use crate::manifests::{Manifests, Reserved};
use crate::world::World;
use crate::{Chain, Plugin, Request, policy, webhooks};
use default_class::DefaultClass;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, FieldError, Reason};
use ironclad_auth::Authorizer;
use ironclad_json::Value;
use ironclad_remote::Egress;
use std::path::PathBuf;
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

/// Which plugins are on and how they are set up.
#[derive(Clone, Debug)]
pub struct Choice {
    /// On besides those that are on by default (`--enable-admission-plugins`).
    pub enable: Vec<String>,
    /// Off although they are on by default (`--disable-admission-plugins`).
    pub disable: Vec<String>,
    /// An AdmissionConfiguration (`--admission-control-config-file`).
    pub configuration: Option<PathBuf>,
    /// How long pods stay on a node that is not ready, in seconds.
    pub not_ready: i64,
    /// How long pods stay on a node that cannot be reached, in seconds.
    pub unreachable: i64,
    /// How webhooks are reached.
    pub egress: Egress,
    /// Whether webhooks and policies may come from manifests.
    pub manifests: Manifests,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            enable: Vec::new(),
            disable: Vec::new(),
            configuration: None,
            not_ready: 300,
            unreachable: 300,
            egress: Egress::default(),
            manifests: Manifests::default(),
        }
    }
}

/// What plugins are made of.
struct Makings<'a> {
    parts: &'a Parts,
    choice: &'a Choice,
    config: Option<&'a Value>,
}

/// A plugin, if it has anything to do; an error says what is wrong with its configuration.
type Made = Result<Option<Arc<dyn Plugin>>, String>;

impl Makings<'_> {
    fn source(&self) -> Arc<dyn Source> {
        self.parts.source.clone()
    }

    fn ledger(&self) -> Arc<dyn quota::Ledger> {
        self.parts.ledger.clone()
    }

    fn authorizer(&self) -> Arc<dyn Authorizer> {
        self.parts.authorizer.clone()
    }

    fn judges(&self) -> Judges {
        Judges {
            source: self.source(),
            authorizer: self.authorizer(),
            world: self.parts.world.clone(),
            egress: self.choice.egress.clone(),
            manifests: self.choice.manifests.clone(),
        }
    }
}

fn some(plugin: impl Plugin + 'static) -> Made {
    Ok(Some(Arc::new(plugin)))
}

/// A plugin: its name, whether it is on by default, how it is made.
type Row = (&'static str, bool, fn(&Makings<'_>) -> Made);

/// Every plugin, in stock's order. NodeRestriction, which stock leaves to those who set a cluster up, is on.
const PLUGINS: &[Row] = &[
    ("AlwaysAdmit", false, |_| some(plain::AlwaysAdmit)),
    ("NamespaceAutoProvision", false, |m| some(namespaces::AutoProvision::new(m.source(), m.ledger()))),
    ("NamespaceLifecycle", true, |m| some(namespaces::Lifecycle::new(m.source(), m.ledger()))),
    ("NamespaceExists", false, |m| some(namespaces::Exists::new(m.source(), m.ledger()))),
    ("LimitPodHardAntiAffinityTopology", false, |_| some(plain::HardAntiAffinity)),
    ("LimitRanger", true, |m| some(limits::LimitRanger::new(m.source()))),
    ("ServiceAccount", true, |m| some(accounts::ServiceAccounts::new(m.source(), m.ledger()))),
    ("NodeRestriction", true, |m| some(nodes::NodeRestriction::new(m.source(), m.authorizer()))),
    ("TaintNodesByCondition", true, |_| some(nodes::TaintNewNodes)),
    ("AlwaysPullImages", false, |_| some(plain::AlwaysPullImages)),
    ("ImagePolicyWebhook", false, |m| some(images::Images::new(m.config)?)),
    ("PodSecurity", true, |m| some(pod_security::PodSecurity::new(m.source(), m.config)?)),
    ("PodNodeSelector", false, |m| some(selectors::NodeSelectors::new(m.source(), m.ledger(), m.config)?)),
    ("Priority", true, |m| some(pods::Priority::new(m.source()))),
    ("DefaultTolerationSeconds", true, |m| {
        some(tolerations::Seconds { not_ready: m.choice.not_ready, unreachable: m.choice.unreachable })
    }),
    ("PodTolerationRestriction", false, |m| some(tolerations::Restriction::new(m.source(), m.config)?)),
    ("EventRateLimit", false, |m| some(events::RateLimit::new(m.config)?)),
    ("ExtendedResourceToleration", false, |_| some(tolerations::Extended)),
    ("DefaultStorageClass", true, |m| some(DefaultClass::new(&default_class::CLAIMS, m.source()))),
    ("StorageObjectInUseProtection", true, |_| some(storage::Protection)),
    // Nothing to do: what it is about, workloads and groups of pods, is behind feature gates that are off.
    ("PodGroupProtection", true, |_| Ok(None)),
    ("OwnerReferencesPermissionEnforcement", false, |m| {
        some(owners::Owners::new(m.authorizer(), m.parts.world.clone()))
    }),
    ("PersistentVolumeClaimResize", true, |m| some(storage::Resize::new(m.source()))),
    ("RuntimeClass", true, |m| some(classes::Runtime::new(m.source()))),
    ("CertificateApproval", true, |m| some(certificates::Signers::approval(m.authorizer()))),
    ("CertificateSigning", true, |m| some(certificates::Signers::signing(m.authorizer()))),
    ("ClusterTrustBundleAttest", true, |m| some(certificates::Attest::new(m.authorizer()))),
    ("CertificateSubjectRestriction", true, |_| some(certificates::Subjects)),
    ("DefaultIngressClass", true, |m| some(DefaultClass::new(&default_class::INGRESSES, m.source()))),
    ("DenyServiceExternalIPs", false, |_| some(plain::ExternalAddresses)),
    ("PodTopologyLabels", true, |m| some(pods::Topology::new(m.source()))),
    ("PodGroupWorkloadExists", true, |_| Ok(None)),
    ("NodeDeclaredFeatureValidator", true, |m| some(resize::Declared::new(m.source()))),
    ("JobValidation", true, |_| Ok(None)),
    ("PodResizeValidator", true, |m| some(resize::Room::new(m.source()))),
    // What stock's registries check themselves, which nobody can turn off.
    ("", true, |m| some(devices::AdminAccess::new(m.source()))),
    ("", true, |m| some(devices::Claims::new(m.authorizer()))),
    ("", true, |m| some(policy::Grants::new(m.judges()))),
    ("MutatingAdmissionPolicy", true, |m| some(policy::Mutating::new(m.judges(), m.config)?)),
    ("MutatingAdmissionWebhook", true, |m| some(webhooks::Mutating::new(m.judges(), m.config)?)),
    // What stock's registries check themselves, which nobody can turn off.
    ("", true, |m| some(escalation::Escalation::new(m.source(), m.authorizer()))),
    ("", true, |m| some(Reserved(m.choice.manifests.clone()))),
    ("ValidatingAdmissionPolicy", true, |m| some(policy::Validating::new(m.judges(), m.config)?)),
    ("ValidatingAdmissionWebhook", true, |m| some(webhooks::Validating::new(m.judges(), m.config)?)),
    // What it grants is charged: nobody but who refuses everything comes after it.
    ("ResourceQuota", true, |m| some(quota::ResourceQuota::new(m.source(), m.ledger(), m.config)?)),
    ("AlwaysDeny", false, |_| some(plain::AlwaysDeny)),
];

/// The plugins that are on by default. Follows configuration in tasks of the current runtime.
pub fn default_chain(parts: &Parts) -> Chain {
    // Without a configuration of their own none of them can fail.
    chain(parts, &Choice::default()).unwrap_or_default()
}

/// The plugins that are on. The error says what is wrong with a name or a configuration.
pub fn chain(parts: &Parts, choice: &Choice) -> Result<Chain, String> {
    let named = |list: &[String], name: &str| list.iter().any(|l| l == name);
    for (flag, list) in [("enable", &choice.enable), ("disable", &choice.disable)] {
        let known = |name: &String| PLUGINS.iter().any(|(n, ..)| !n.is_empty() && n == name);
        let unknown: Vec<String> = list
            .iter()
            .filter(|name| !name.is_empty() && !known(name))
            .map(|name| format!("{flag}-admission-plugins plugin {name:?} is unknown"))
            .collect();
        match unknown.as_slice() {
            [] => {}
            [one] => return Err(one.clone()),
            many => return Err(format!("[{}]", many.join(", "))),
        }
    }
    let mut both: Vec<&str> =
        choice.enable.iter().filter(|name| named(&choice.disable, name)).map(String::as_str).collect();
    both.sort_unstable();
    both.dedup();
    if !both.is_empty() {
        return Err(format!(
            "[{}] in enable-admission-plugins and disable-admission-plugins overlapped",
            both.join(" ")
        ));
    }
    let configurations = choice.configuration.as_deref().map(Configurations::read).transpose();
    let configurations = configurations.map_err(|why| format!("failed to read plugin config: {why}"))?;
    let configurations = configurations.unwrap_or_default();
    let mut plugins = Vec::new();
    for (name, default, make) in PLUGINS {
        if !named(&choice.enable, name) && (!default || named(&choice.disable, name)) {
            continue;
        }
        let makings = Makings { parts, choice, config: configurations.of(name) };
        plugins.extend(make(&makings).map_err(|why| format!("couldn't init admission plugin {name:?}: {why}"))?);
    }
    Ok(Chain::new(plugins))
}

/// An error that stock passes on as it is, with nothing but its text.
fn bare(why: impl std::fmt::Display) -> ApiError {
    ApiError { code: 500, ..ApiError::new(Reason::Unknown, why.to_string()) }
}

/// Errors of a configuration as one text.
fn valid(errors: &[FieldError]) -> Result<(), String> {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests;
