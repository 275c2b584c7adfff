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
use crate::{Request, config};
use arc_swap::ArcSwapOption;
use compiled::{Binding, Policy};
use ironclad_api::error::Result;
use ironclad_api::{ApiError, GroupResource, Reason};
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

    /// The policies that some binding names, with those bindings, in the order of their names.
    async fn bound(&self) -> Result<Vec<(Arc<Policy>, Vec<Arc<Binding>>)>> {
        let (policies, bindings) = (self.policies.get().await?, self.bindings.get().await?);
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.grouped.load_full().filter(|g| Arc::ptr_eq(&g.0, &bindings));
        let grouped = known.unwrap_or_else(|| {
            let mut map: HashMap<String, Vec<Arc<Binding>>> = HashMap::new();
            bindings.iter().for_each(|b| map.entry(b.policy.clone()).or_default().push(b.clone()));
            let grouped = Arc::new((bindings.clone(), map));
            self.grouped.store(Some(grouped.clone()));
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

/// Reads the configuration of a plug-in, which can name nothing but manifests.
fn configured(config: Option<&ironclad_json::Value>, kind: &str) -> std::result::Result<(), String> {
    let Some(config) = config else { return Ok(()) };
    let file: File = config::typed(config, &["apiserver.config.k8s.io/v1"], kind)?;
    config::no_manifests(&file.static_manifests_dir)
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
