//! Admission policies: rules in expressions, bound to parameters (ValidatingAdmissionPolicy, MutatingAdmissionPolicy).
//!
//! Invariants: policies and bindings are followed by a watch and compiled once when they change; what expressions cost
//! for one request and binding is bounded.

mod compiled;
mod grants;
mod mutating;
mod params;
mod validating;
mod variables;

use crate::expressions::Judges;
use crate::follow::Followed;
use crate::matching::Seen;
use crate::{Request, config};
use arc_swap::ArcSwapOption;
use compiled::{Binding, Policy};
use ironclad_api::error::Result;
use ironclad_api::{ApiError, GroupResource, GroupVersionResource, Reason};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use grants::Grants;
pub(crate) use mutating::Mutating;
pub(crate) use validating::Validating;

const GROUP: &str = "admissionregistration.k8s.io";

/// Bindings by the name of their policy, and the list they were made from.
type ByPolicy = (Arc<Vec<Arc<Binding>>>, HashMap<String, Vec<Arc<Binding>>>);

/// The policies of one kind with their bindings.
struct Policies {
    policies: Followed<Policy>,
    bindings: Followed<Binding>,
    grouped: ArcSwapOption<ByPolicy>,
}

impl Policies {
    fn new(judges: &Judges, policies: &str, bindings: &str) -> Self {
        let mutating = policies.starts_with("mutating");
        Self {
            policies: Followed::new(&*judges.source, &GroupResource::new(GROUP, policies), move |p| {
                Policy::read(p, mutating)
            }),
            bindings: Followed::new(&*judges.source, &GroupResource::new(GROUP, bindings), Binding::read),
            grouped: ArcSwapOption::empty(),
        }
    }

    /// Follows a directory of manifests besides.
    fn fix(
        &self,
        judges: &Judges,
        plugin: &'static str,
        dir: &str,
        kinds: &'static [&'static str],
    ) -> std::result::Result<(), String> {
        let mutating = plugin.starts_with("Mutating");
        let (policies, bindings) = (self.policies.fixed(), self.bindings.fixed());
        judges.manifests.follow(plugin, dir, kinds, judges.world.clone(), move |lists| {
            if let [first, second] = lists.as_slice() {
                policies.put(first.iter().map(|p| Policy::read(p, mutating)).collect());
                bindings.put(second.iter().map(Binding::read).collect());
            }
        })
    }

    /// The policies that some binding names, with those bindings, in the order of their names; for configuration of
    /// admission itself those of manifests alone.
    async fn bound(&self, resource: &GroupVersionResource) -> Result<Vec<(Arc<Policy>, Vec<Arc<Binding>>)>> {
        let all = Seen::of(resource) == Seen::ByAll;
        let (policies, bindings) = (self.policies.get(all).await?, self.bindings.get(all).await?);
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.grouped.load_full().filter(|g| Arc::ptr_eq(&g.0, &bindings));
        let grouped = known.unwrap_or_else(|| {
            let mut map: HashMap<String, Vec<Arc<Binding>>> = HashMap::new();
            bindings.iter().for_each(|b| map.entry(b.policy.clone()).or_default().push(b.clone()));
            let grouped = Arc::new((bindings.clone(), map));
            if all {
                self.grouped.store(Some(grouped.clone()));
            }
            grouped
        });
        let of = |p: &Arc<Policy>| grouped.1.get(&p.name).map(|b| (p.clone(), b.clone()));
        Ok(policies.iter().filter_map(of).collect())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    #[serde(default)]
    static_manifests_dir: String,
}

/// Reads the configuration of a plug-in, which can name nothing but a directory of manifests.
fn configured(
    judges: &Judges,
    config: Option<&ironclad_json::Value>,
    kind: &str,
) -> std::result::Result<String, String> {
    let Some(config) = config else { return Ok(String::new()) };
    let file: File = config::typed(config, &["apiserver.config.k8s.io/v1"], kind)?;
    judges.manifests.check(&file.static_manifests_dir).map(|()| file.static_manifests_dir)
}

/// A refusal as the client sees it.
fn refusal(request: &Request, reason: &str, message: String) -> ApiError {
    let mut error = request.forbidden(&message);
    error.reason = match crate::webhooks::reason_named(reason) {
        Reason::Unknown => Reason::Invalid,
        known => known,
    };
    error.code = match error.reason {
        Reason::Forbidden => 403,
        Reason::Unauthorized => 401,
        Reason::RequestEntityTooLarge => 413,
        _ => 422,
    };
    error.with_cause("", message, "")
}
