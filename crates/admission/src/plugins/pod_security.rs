//! PodSecurity: the levels that a namespace's `pod-security.kubernetes.io` labels ask for.

mod checks;

use crate::{Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource};
use serde_json::Value;
use std::sync::Arc;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// Where the pod's template is in the objects that make pods.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

pub(super) struct PodSecurity {
    source: Arc<dyn Source>,
}

impl PodSecurity {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }
}

/// The level and version of a mode: `enforce`, `warn` or `audit`.
fn level(namespace: &Value, mode: &str) -> (Level, String) {
    let label = |key: String| namespace["metadata"]["labels"][&key].as_str().unwrap_or_default().to_owned();
    let level = match label(format!("{PREFIX}{mode}")).as_str() {
        "" | "privileged" => Level::Privileged,
        "baseline" => Level::Baseline,
        // What cannot be read is taken for the strictest.
        _ => Level::Restricted,
    };
    let version = label(format!("{PREFIX}{mode}-version"));
    (level, if version.is_empty() { "latest".to_owned() } else { version })
}

/// What a pod violates at a level, as one text; `None` when nothing.
fn violations(level: Level, version: &str, metadata: &Value, spec: &Value) -> Option<String> {
    let (name, found) = match level {
        Level::Privileged => return None,
        Level::Baseline => ("baseline", checks::baseline(metadata, spec)),
        Level::Restricted => {
            let mut found = checks::baseline(metadata, spec);
            for strict in checks::restricted(spec) {
                // The stricter check says what the looser one says and more.
                found.retain(|f| {
                    f.0 != strict.0 && !(f.0 == "non-default capabilities" && strict.0 == "unrestricted capabilities")
                });
                found.push(strict);
            }
            ("restricted", found)
        }
    };
    let texts: Vec<String> = found.into_iter().map(|(title, detail)| format!("{title} ({detail})")).collect();
    (!texts.is_empty()).then(|| format!("violate PodSecurity \"{name}:{version}\": {}", texts.join(", ")))
}

/// Whether a change of a pod can change what it violates: only its metadata and images may change without a check.
fn matters(old: &Value, new: &Value) -> bool {
    let notes = |v: &Value| v["metadata"]["annotations"].clone();
    old["spec"] != new["spec"] || notes(old) != notes(new)
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &mut Request) -> Result<()> {
        if !["", "ephemeralcontainers"].contains(&request.subresource.as_str()) {
            return Ok(());
        }
        let (group, resource) = (request.resource.group.as_str(), request.resource.resource.as_str());
        let pod = (group, resource) == ("", "pods");
        let template = TEMPLATES.iter().find(|(g, r, _)| (*g, *r) == (group, resource)).map(|(.., at)| *at);
        if !pod && template.is_none() {
            return Ok(());
        }
        let Some(object) = &request.object else { return Ok(()) };
        if request.old.as_deref().is_some_and(|old| !matters(old, object)) {
            return Ok(());
        }
        let Some(namespace) = self.source.get(&GroupResource::new("", "namespaces"), "", &request.namespace) else {
            return Ok(());
        };
        let subject = template.map_or(Some(object), |at| object.pointer(at));
        let Some((metadata, spec)) = subject.map(|s| (&s["metadata"], &s["spec"])) else { return Ok(()) };
        let judge = |mode: &str| {
            let (level, version) = level(&namespace, mode);
            violations(level, &version, metadata, spec)
        };
        if pod && let Some(why) = judge("enforce") {
            let why = why.replacen("violate", "violates", 1);
            return Err(ApiError::forbidden(&request.resource.group_resource(), &request.name, why));
        }
        if let Some(why) = judge("warn") {
            request.warnings.push(format!("would {why}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(level: Level, spec: Value) -> String {
        violations(level, "latest", &json!({}), &spec).unwrap_or_default()
    }

    #[test]
    fn a_plain_pod_is_baseline_and_not_restricted() {
        let spec = json!({"containers": [{"name": "web"}]});
        assert_eq!(judged(Level::Baseline, spec.clone()), "");
        assert_eq!(
            judged(Level::Restricted, spec),
            concat!(
                r#"violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "web" must set "#,
                r#"securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "web" must set "#,
                r#"securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "web" must set "#,
                r#"securityContext.runAsNonRoot=true), seccompProfile (pod or container "web" must set "#,
                r#"securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
            )
        );
    }

    #[test]
    fn each_danger_is_named() {
        let one = |context: Value| json!({"containers": [{"name": "a", "securityContext": context}]});
        let table = [
            (
                json!({"hostNetwork": true, "hostPID": true, "containers": []}),
                "host namespaces (hostNetwork=true, hostPID=true)",
            ),
            (
                one(json!({"privileged": true})),
                r#"privileged (container "a" must not set securityContext.privileged=true)"#,
            ),
            (
                one(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})),
                r#"non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)"#,
            ),
            (
                json!({"containers": [], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
                r#"hostPath volumes (volume "v")"#,
            ),
            (
                json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]}]}),
                r#"hostPort (container "a" uses hostPort 80)"#,
            ),
        ];
        for (spec, text) in table {
            assert_eq!(judged(Level::Baseline, spec), format!("violate PodSecurity \"baseline:latest\": {text}"));
        }
        let strict = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            "volumes": [{"name": "t", "projected": {"sources": []}}]});
        assert_eq!(judged(Level::Restricted, strict), "");
    }
}
