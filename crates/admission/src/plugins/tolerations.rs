//! What pods tolerate: DefaultTolerationSeconds, PodTolerationRestriction and ExtendedResourceToleration.

use super::is;
use crate::{Mutate, Operation, Plugin, Request, Validate, config};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::entry;
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, object, quota};
use ironclad_json::{Value, json};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// The list of tolerations of a pod, made where it is missing.
fn list(pod: &mut Value) -> Option<&mut Vec<Value>> {
    let list = entry(pod, "spec").entry("tolerations").or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut()
}

/// Lets pods stay for a while on a node that is not ready or unreachable.
pub(super) struct Seconds {
    pub(super) not_ready: i64,
    pub(super) unreachable: i64,
}

impl Plugin for Seconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Seconds {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !is(request, "", "pods") {
            return Ok(());
        }
        let Some(list) = request.object.as_mut().and_then(list) else { return Ok(()) };
        let both =
            [("node.kubernetes.io/not-ready", self.not_ready), ("node.kubernetes.io/unreachable", self.unreachable)];
        for (key, seconds) in both {
            let covers = |t: &Value| {
                let (k, effect) = (object::text(t, &["key"]), object::text(t, &["effect"]));
                (k == key || k.is_empty()) && (effect == "NoExecute" || effect.is_empty())
            };
            if !list.iter().any(covers) {
                list.push(
                    json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}),
                );
            }
        }
        Ok(())
    }
}

/// Tolerations of a cluster, where a namespace says nothing. Fields that are not known are ignored, as stock does.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    default: Vec<Value>,
    whitelist: Vec<Value>,
}

/// Gives pods the tolerations of their namespace, and refuses those that it does not allow.
pub(super) struct Restriction {
    source: Arc<dyn Source>,
    settings: Settings,
}

impl Restriction {
    pub(super) fn new(source: Arc<dyn Source>, config: Option<&Value>) -> std::result::Result<Self, String> {
        const VERSIONS: [&str; 1] = ["podtolerationrestriction.admission.k8s.io/v1alpha1"];
        let settings = config.map(|c| config::typed(c, &VERSIONS, "Configuration")).transpose()?;
        Ok(Self { source, settings: settings.unwrap_or_default() })
    }

    /// What an annotation of a namespace says; nothing where it has none.
    fn of(&self, namespace: &str, annotation: &str) -> Result<Option<Vec<Value>>> {
        let found = self.source.get(&GroupResource::new("", "namespaces"), "", namespace);
        let text = found.as_ref().and_then(|n| n["metadata"]["annotations"][annotation].as_str());
        match text {
            None => Ok(None),
            // Empty is not nothing: the cluster's do not count then.
            Some("") => Ok(Some(Vec::new())),
            Some(text) => serde_json::from_str(text)
                .map(Some)
                .map_err(|e| super::bare(ironclad_schema::json::in_go(&e, text.as_bytes()))),
        }
    }
}

/// Whether `wide` tolerates all that `narrow` tolerates.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let text = |t: &'_ Value, field: &str| object::text(t, &[field]).to_owned();
    let operator = text(wide, "operator");
    if wide == narrow {
        return true;
    }
    if text(wide, "key") != text(narrow, "key") && !(text(wide, "key").is_empty() && operator == "Exists") {
        return false;
    }
    let effect = text(wide, "effect");
    if effect != text(narrow, "effect") && !effect.is_empty() {
        return false;
    }
    if let (true, Some(most)) = (effect == "NoExecute", wide["tolerationSeconds"].as_i64())
        && narrow["tolerationSeconds"].as_i64().is_none_or(|s| s > most)
    {
        return false;
    }
    match operator.as_str() {
        "" | "Equal" => text(narrow, "operator") == "Equal" && text(wide, "value") == text(narrow, "value"),
        "Exists" => true,
        _ => false,
    }
}

/// Both lists without what others in them cover; of equal ones the first stays.
fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (i, toleration) in all.iter().enumerate() {
        let later = all[i + 1..].iter().any(|t| t != toleration && covers(t, toleration));
        if !later && !merged.iter().any(|m| covers(m, toleration)) {
            merged.push((*toleration).clone());
        }
    }
    merged
}

impl Plugin for Restriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Restriction {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !is(request, "", "pods") {
            return Ok(());
        }
        let defaults = match request.operation {
            Operation::Create => {
                self.of(&request.namespace, DEFAULTS)?.unwrap_or_else(|| self.settings.default.clone())
            }
            _ => Vec::new(),
        };
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        let own = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        let mut merged = match (defaults.as_slice(), own.as_slice()) {
            ([], _) => own,
            (_, []) => defaults,
            (second, first) => merge(first, second),
        };
        if !quota::best_effort(pod) {
            let pressure =
                json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"});
            merged = merge(&merged, &[pressure]);
        }
        if !merged.is_empty() {
            entry(pod, "spec").insert("tolerations", Value::Array(merged.into()));
        }
        self.validate(request).await
    }
}

#[async_trait]
impl Validate for Restriction {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(pod) = request.object.as_ref().filter(|_| is(request, "", "pods")) else { return Ok(()) };
        let own = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        if own.is_empty() {
            return Ok(());
        }
        let (allowed, scope) = match self.of(&request.namespace, ALLOWED)? {
            Some(own) => (own, "namespace"),
            None => (self.settings.whitelist.clone(), "cluster"),
        };
        if allowed.is_empty() || own.iter().all(|t| allowed.iter().any(|a| covers(a, t))) {
            return Ok(());
        }
        let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its";
        Err(super::bare(format!("{why} {scope} whitelist")))
    }
}

/// Lets pods that ask for a device onto the nodes that are kept for those who do.
pub(super) struct Extended;

/// Whether a resource is neither one of Kubernetes' own nor a quota's word for a request.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

impl Plugin for Extended {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Extended {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !is(request, "", "pods") {
            return Ok(());
        }
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        let containers = ["containers", "initContainers"].into_iter();
        let all = containers.flat_map(|l| pod["spec"][l].as_array().into_iter().flatten());
        let requests = all.flat_map(|c| c["resources"]["requests"].as_object().into_iter().flatten());
        let names: BTreeSet<String> = requests.map(|(name, _)| name.to_string()).filter(|n| is_extended(n)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let Some(list) = list(pod) else { return Ok(()) };
        for name in names {
            let toleration = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
            let same = |t: &Value| ["key", "operator", "effect", "value"].iter().all(|f| t[*f] == toleration[*f]);
            match list.iter_mut().find(|t| same(t)) {
                Some(known) => *known = toleration,
                None => list.push(toleration),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_covers_what_is_narrower() {
        let any = json!({"operator": "Exists"});
        let key = json!({"key": "a", "operator": "Exists"});
        let equal = json!({"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"});
        let short = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10});
        let long = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20});
        let table = [
            (&any, &equal, true),
            (&key, &equal, true),
            (&equal, &key, false),
            (&long, &short, true),
            (&short, &long, false),
            (&key, &any, false),
            (&equal, &equal, true),
        ];
        for (wide, narrow, want) in table {
            assert_eq!(covers(wide, narrow), want, "{wide} {narrow}");
        }
        assert_eq!(merge(&[equal.clone(), short], &[key.clone(), key.clone()]), [key]);
        assert_eq!(merge(std::slice::from_ref(&equal), &[]), [equal]);
    }

    #[test]
    fn extended_resources_are_those_of_others() {
        let table =
            [("example.com/gpu", true), ("cpu", false), ("kubernetes.io/x", false), ("requests.example.com/a", false)];
        for (name, want) in table {
            assert_eq!(is_extended(name), want, "{name}");
        }
    }
}
