//! Resources that nobody may use without a quota for them, as the plug-in's configuration says.

use super::{Cost, Refusal};
use crate::config;
use ironclad_api::quota::{Scope, amounts, in_scope, scopes};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::Value;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    #[serde(default)]
    limited_resources: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
struct Entry {
    api_group: String,
    resource: String,
    match_contains: Vec<String>,
    match_scopes: Vec<Value>,
}

/// A resource that is limited by default.
#[derive(Debug)]
pub(super) struct Limited {
    group: String,
    resource: String,
    contains: Vec<String>,
    scopes: Vec<Scope>,
}

pub(super) fn read(config: Option<&Value>) -> Result<Vec<Limited>, String> {
    let Some(config) = config else { return Ok(Vec::new()) };
    const OLD: [&str; 2] = ["resourcequota.admission.k8s.io/v1beta1", "resourcequota.admission.k8s.io/v1alpha1"];
    let file: File = match config["kind"].as_str() {
        Some("Configuration") => config::typed(config, &OLD, "Configuration")?,
        _ => config::typed(config, &["apiserver.config.k8s.io/v1"], "ResourceQuotaConfiguration")?,
    };
    let mut errors = ErrorList::new();
    for (i, entry) in file.limited_resources.iter().enumerate() {
        if entry.resource.is_empty() {
            errors.push(FieldError::required(&Path::new("limitedResources").index(i).child("resource"), ""));
        }
    }
    super::super::valid(&errors)?;
    let one = |e: Entry| Limited {
        group: e.api_group,
        resource: e.resource,
        contains: e.match_contains,
        scopes: e.match_scopes.iter().map(Scope::read).collect(),
    };
    Ok(file.limited_resources.into_iter().map(one).collect())
}

/// Refuses what needs a quota and has none.
pub(super) fn check(limited: &[Limited], quotas: &[Arc<Value>], cost: &Cost<'_>) -> Result<(), Refusal> {
    if limited.is_empty() || cost.growth().is_empty() {
        return Ok(());
    }
    let holds = |scope: &&Scope| scope.holds(&cost.resource, cost.new);
    let wanted: Vec<&Scope> = limited.iter().flat_map(|l| &l.scopes).filter(holds).collect();
    let own = limited.iter().filter(|l| (&l.group, &l.resource) == (&cost.resource.group, &cost.resource.resource));
    let contains: Vec<&String> = own.flat_map(|l| &l.contains).collect();
    let positive = cost.usage.iter().filter(|(_, q)| !q.is_zero() && !q.is_negative()).map(|(name, _)| name);
    let named: BTreeSet<&String> = positive.filter(|n| contains.iter().any(|c| n.contains(c.as_str()))).collect();
    let concerned = quotas.iter().filter(|q| in_scope(q, &cost.resource, cost.new));
    let covered: BTreeSet<String> = concerned.flat_map(|q| amounts(&q["spec"]["hard"]).into_keys()).collect();
    let uncovered: Vec<&str> = named.into_iter().filter(|n| !covered.contains(*n)).map(String::as_str).collect();
    if !uncovered.is_empty() {
        return Err(Refusal::Exceeded(format!("insufficient quota to consume: {}", uncovered.join(","))));
    }
    let given: Vec<Scope> = quotas.iter().flat_map(|q| scopes(q)).filter(|s| holds(&s)).collect();
    let uncovered: Vec<String> =
        wanted.iter().filter(|w| !given.iter().any(|g| g.name == w.name)).map(ToString::to_string).collect();
    match uncovered.is_empty() {
        true => Ok(()),
        false => {
            let why = format!("insufficient quota to match these scopes: [{}]", uncovered.join(" "));
            Err(Refusal::Failed(super::super::bare(why)))
        }
    }
}
