//! LimitRanger: gives containers the requests and limits of their namespace, and refuses what lies outside its bounds.

use super::is;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::{entry, metadata_mut};
use ironclad_api::quantity::Quantity;
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, object, pod_resources};
use ironclad_json::{Value, json};
use k8s_openapi::api::core::v1::PodSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

type Amounts = BTreeMap<String, Quantity>;

pub(super) struct LimitRanger {
    source: Arc<dyn Source>,
}

impl LimitRanger {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    fn limits(&self, namespace: &str, of: &str) -> Vec<Value> {
        let ranges = self.source.list(&GroupResource::new("", "limitranges"), namespace);
        let items = |r: &Arc<Value>| r["spec"]["limits"].as_array().cloned().unwrap_or_default();
        ranges.iter().flat_map(items).filter(|l| l["type"] == of).collect()
    }
}

fn amounts(value: &Value) -> Amounts {
    let one = |(k, v): (&ironclad_json::Text, &Value)| {
        let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        Some((k.to_string(), text.parse().ok()?))
    };
    value.as_object().into_iter().flatten().filter_map(one).collect()
}

/// Sets what a container lacks; returns the names of what was set.
fn fill(container: &mut Value, field: &str, defaults: &Value) -> Vec<String> {
    let Some(defaults) = defaults.as_object().filter(|d| !d.is_empty()) else { return Vec::new() };
    entry(container, "resources");
    let have = entry(&mut container["resources"], field);
    let mut set = Vec::new();
    for (name, amount) in defaults {
        if !have.contains_key(name) {
            have.insert(name.clone(), amount.clone());
            set.push(name.to_string());
        }
    }
    if have.is_empty()
        && let Some(resources) = container["resources"].as_object_mut()
    {
        resources.remove(field);
    }
    set.sort();
    set
}

fn default_pod(pod: &mut Value, limits: &[Value]) {
    let mut notes = Vec::new();
    for (group, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(group).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = object::text(container, &["name"]).to_owned();
            for (field, from, noun) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let set: Vec<String> = limits.iter().flat_map(|l| fill(container, field, &l[from])).collect();
                if !set.is_empty() {
                    notes.push(format!("{} {noun} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        let annotations = metadata_mut(pod).entry("annotations").or_insert_with(|| json!({}));
        annotations["kubernetes.io/limit-ranger"] = json!(text);
    }
}

/// What of `requests` and `limits` lies outside one item of a LimitRange.
fn outside(limit: &Value, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let of = limit["type"].as_str().unwrap_or_default();
    let mut out = Vec::new();
    for (name, least) in amounts(&limit["min"]) {
        let begin = format!("minimum {name} usage per {of} is {least}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => out.push(format!("{begin}.  No request is specified")),
            (Some(r), _) if *r < least => out.push(format!("{begin}, but request is {r}")),
            (_, Some(l)) if *l < least => out.push(format!("{begin}, but limit is {l}")),
            _ => {}
        }
    }
    for (name, most) in amounts(&limit["max"]) {
        let begin = format!("maximum {name} usage per {of} is {most}");
        // A claim for storage has no limits.
        let claim = of == "PersistentVolumeClaim";
        match (requests.get(&name), limits.get(&name)) {
            (_, None) if !claim => out.push(format!("{begin}.  No limit is specified")),
            (_, Some(l)) if *l > most => out.push(format!("{begin}, but limit is {l}")),
            (Some(r), _) if *r > most => out.push(format!("{begin}, but request is {r}")),
            _ => {}
        }
    }
    for (name, ratio) in amounts(&limit["maxLimitRequestRatio"]) {
        let begin = format!("{name} max limit to request ratio per {of} is {ratio}");
        match (requests.get(&name).filter(|r| !r.is_zero()), limits.get(&name).filter(|l| !l.is_zero())) {
            (None, _) => out.push(format!("{begin}, but no request is specified or request is 0")),
            (_, None) => out.push(format!("{begin}, but no limit is specified or limit is 0.")),
            (Some(r), Some(l)) => {
                let have = l.milli_value() as f64 / r.milli_value() as f64;
                if have > ratio.milli_value() as f64 / 1000.0 {
                    out.push(format!("{begin}, but provided ratio is {have:.6}"));
                }
            }
        }
    }
    out
}

impl LimitRanger {
    fn pod(&self, request: &Request, pod: &Value) -> Vec<String> {
        let mut out = Vec::new();
        let (each, whole) = (self.limits(&request.namespace, "Container"), self.limits(&request.namespace, "Pod"));
        for group in ["containers", "initContainers"] {
            for container in pod["spec"][group].as_array().into_iter().flatten() {
                let resources = &container["resources"];
                let (requests, limits) = (amounts(&resources["requests"]), amounts(&resources["limits"]));
                out.extend(each.iter().flat_map(|l| outside(l, &requests, &limits)));
            }
        }
        if !whole.is_empty()
            && let Ok(spec) = ironclad_json::from_value::<PodSpec>(pod["spec"].clone())
        {
            let (requests, limits) = (sums(pod_resources::requests(&spec)), sums(pod_resources::limits(&spec)));
            out.extend(whole.iter().flat_map(|l| outside(l, &requests, &limits)));
        }
        out
    }
}

fn sums(list: pod_resources::ResourceList) -> Amounts {
    list.into_iter().collect()
}

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
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
impl Mutate for LimitRanger {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if is(request, "", "pods") && request.operation == Operation::Create {
            let limits = self.limits(&request.namespace, "Container");
            if let Some(pod) = request.object.as_mut().filter(|_| !limits.is_empty()) {
                default_pod(pod, &limits);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Validate for LimitRanger {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(object) = &request.object else { return Ok(()) };
        let wrong = if is(request, "", "pods") && request.operation == Operation::Create {
            self.pod(request, object)
        } else if is(request, "", "persistentvolumeclaims") {
            let requests = amounts(&object["spec"]["resources"]["requests"]);
            let limits = self.limits(&request.namespace, "PersistentVolumeClaim");
            limits.iter().flat_map(|l| outside(l, &requests, &Amounts::new())).collect()
        } else {
            return Ok(());
        };
        let why = match wrong.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Err(request.forbidden(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_get_what_they_lack_and_a_note_says_so() {
        let limits = [
            json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m", "memory": "64Mi"}}),
        ];
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2"}}}]}});
        default_pod(&mut pod, &limits);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "500m", "memory": "64Mi"}, "limits": {"cpu": "1"}})
        );
        assert_eq!(pod["spec"]["containers"][1]["resources"]["requests"]["cpu"], "2");
        assert_eq!(
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: cpu, memory request for container a; cpu limit for container a"
        );
    }

    #[test]
    fn bounds_are_worded_as_stock_words_them() {
        let limit = json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "2"}});
        let table = [
            (json!({"cpu": "100m"}), json!({"cpu": "200m", "memory": "1Gi"}), vec![]),
            (
                json!({"cpu": "50m"}),
                json!({"cpu": "50m", "memory": "2Gi"}),
                vec![
                    "minimum cpu usage per Container is 100m, but request is 50m",
                    "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                ],
            ),
            (
                json!({}),
                json!({}),
                vec![
                    "minimum cpu usage per Container is 100m.  No request is specified",
                    "maximum memory usage per Container is 1Gi.  No limit is specified",
                    "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
                ],
            ),
        ];
        for (requests, limits, wrong) in table {
            assert_eq!(outside(&limit, &amounts(&requests), &amounts(&limits)), wrong);
        }
    }
}
