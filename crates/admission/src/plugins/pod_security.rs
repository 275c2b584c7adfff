//! PodSecurity: the levels that a namespace's `pod-security.kubernetes.io` labels ask for.

mod checks;
mod labels;
mod settings;
mod told;

use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::Value;
use labels::{Level, Policy, Standard};
use settings::Settings;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// Doors to a pod that do not change its specification.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// How many pods a new level of a namespace is held against.
const MAX_PODS: usize = 3_000;
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

pub(super) struct PodSecurity {
    source: Arc<dyn Source>,
    settings: Settings,
}

impl PodSecurity {
    pub(super) fn new(source: Arc<dyn Source>, config: Option<&Value>) -> std::result::Result<Self, String> {
        crate::metrics::begin();
        Ok(Self { source, settings: Settings::read(config)? })
    }

    /// Why a request is not judged, if it is not.
    fn exempts(&self, namespace: &str, user: &str) -> Option<&'static str> {
        let exemptions = &self.settings.exemptions;
        let has = |list: &[String], name: &str| list.iter().any(|l| l == name);
        if has(&exemptions.namespaces, namespace) {
            return Some("namespace");
        }
        has(&exemptions.usernames, user).then_some("user")
    }

    fn exempts_class(&self, spec: &Value) -> bool {
        let class = object::text(spec, &["runtimeClassName"]);
        !class.is_empty() && self.settings.exemptions.runtime_classes.iter().any(|c| c == class)
    }
}

/// What a pod violates, each with its headline and its detail.
fn findings(standard: &Standard, metadata: &Value, spec: &Value) -> Vec<(String, String)> {
    let minor = standard.minor();
    match standard.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => checks::baseline(metadata, spec, minor),
        Level::Restricted => {
            let mut found = checks::baseline(metadata, spec, minor);
            // The stricter check says what the looser one says and more.
            let replaced = |title: &str| match title {
                "hostPath volumes" => true,
                "non-default capabilities" => minor >= 22,
                "procMount" => minor >= 35,
                _ => false,
            };
            found.retain(|f| !replaced(&f.0));
            for strict in checks::restricted(spec, minor) {
                // Whoever chose a wrong profile is told that, not that there is none.
                let chosen = found.iter().position(|f| f.0 == "seccompProfile" && f.0 == strict.0);
                let chosen = chosen.map(|at| found.remove(at));
                found.push(chosen.unwrap_or(strict));
            }
            // The stricter check of profiles is the last one.
            if let Some(at) = found.iter().position(|f| f.0 == "seccompProfile").filter(|_| minor >= 19) {
                let last = found.remove(at);
                found.push(last);
            }
            found
        }
    }
}

/// What a pod violates, as one text; `None` when nothing.
fn violations(standard: &Standard, metadata: &Value, spec: &Value) -> Option<String> {
    let found = findings(standard, metadata, spec);
    let texts: Vec<String> = found.into_iter().map(|(title, detail)| format!("{title} ({detail})")).collect();
    (!texts.is_empty()).then(|| format!("violate PodSecurity \"{standard}\": {}", texts.join(", ")))
}

/// Whether a change of a pod can change what it violates: new containers and other images are looked at.
fn matters(old: &Value, new: &Value) -> bool {
    let all = |pod: &Value| -> Vec<(String, String)> {
        let groups = ["containers", "initContainers", "ephemeralContainers"].into_iter();
        let each = groups.flat_map(|g| pod["spec"][g].as_array().into_iter().flatten());
        each.map(|c| (object::text(c, &["name"]).to_owned(), object::text(c, &["image"]).to_owned())).collect()
    };
    all(old) != all(new)
}

impl PodSecurity {
    fn namespace(&self, request: &mut Request) -> Result<()> {
        let Some(new) = request.object.as_ref().filter(|_| request.subresource.is_empty()) else { return Ok(()) };
        let defaults = &self.settings.defaults;
        let (policy, errors) = Policy::read(new, defaults);
        let exempt = self.exempts(&request.name, "").is_some();
        let ignored = (exempt && !policy.is_privileged() && policy != *defaults).then(|| policy.asked(new));
        let old = request.old.as_deref().map(|old| Policy::read(old, defaults));
        let known = old.as_ref().is_some_and(|(_, before)| *before == errors);
        if !errors.is_empty() && !known {
            return Err(ApiError::invalid("", "Namespace", &request.name, &errors));
        }
        let name = request.name.clone();
        let warning = ignored.map(|asked| {
            format!("namespace {name:?} is exempt from Pod Security, and the policy ({asked}) will be ignored")
        });
        if old.is_none() {
            request.warnings.extend(warning);
        } else if let Some((before, _)) = old {
            let (was, is) = (&before.enforce, &policy.enforce);
            let looser = was.version == is.version && is.level <= was.level;
            if was != is && is.level != Level::Privileged && !looser {
                let warnings = if exempt { warning.into_iter().collect() } else { self.existing(&name, is) };
                request.warnings.extend(warnings);
            }
        }
        Ok(())
    }

    /// What the pods that a namespace has say to a new level.
    fn existing(&self, namespace: &str, standard: &Standard) -> Vec<String> {
        let pods = self.prioritized(namespace);
        let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for pod in pods.iter().take(MAX_PODS) {
            let found = findings(standard, &pod["metadata"], &pod["spec"]);
            if !found.is_empty() {
                let reason = found.into_iter().map(|(title, _)| title).collect::<Vec<_>>().join(", ");
                by_reason.entry(reason).or_default().push(object::name(pod));
            }
        }
        let mut warnings = Vec::new();
        if pods.len() > MAX_PODS {
            let all = pods.len();
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {MAX_PODS} of {all} existing pods"
            ));
        }
        if !by_reason.is_empty() {
            warnings.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
            ));
        }
        let mut lines: Vec<String> = by_reason
            .into_iter()
            .map(|(reason, mut names)| {
                names.sort_unstable();
                match names.len() {
                    1 => format!("{}: {reason}", names[0]),
                    2 => format!("{} (and 1 other pod): {reason}", names[0]),
                    more => format!("{} (and {} other pods): {reason}", names[0], more - 1),
                }
            })
            .collect();
        lines.sort();
        warnings.extend(lines);
        warnings
    }

    /// The pods of a namespace that are judged, those first that no other pod of the same owner stands for.
    fn prioritized(&self, namespace: &str) -> Vec<Arc<Value>> {
        let pods = self.source.list(&GroupResource::new("", "pods"), namespace);
        let mut owners = HashSet::new();
        let mut first_of_owner = |pod: &Arc<Value>| {
            let owners_of = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let owner = owners_of.into_iter().find(|o| o["controller"] == true);
            owner.is_none_or(|o| owners.insert(object::text(o, &["uid"]).to_owned()))
        };
        let judged = pods.into_iter().filter(|pod| !self.exempts_class(&pod["spec"]));
        let (mut first, others): (Vec<_>, Vec<_>) = judged.partition(|pod| first_of_owner(pod));
        first.extend(others);
        first
    }

    /// Judges a pod, or the template of what makes pods.
    fn pod(&self, request: &mut Request, template: Option<&str>) -> Result<()> {
        let Some(object) = &request.object else { return Ok(()) };
        let subject = template.map_or(Some(object), |at| object.pointer(at));
        let Some((metadata, spec)) = subject.map(|s| (&s["metadata"], &s["spec"])) else { return Ok(()) };
        let changed = template.is_some() || request.old.as_deref().is_none_or(|old| matters(old, object));
        let class = || self.exempts_class(spec).then_some("runtimeClass");
        let exempt = self.exempts(&request.namespace, &request.user.name);
        let Some(namespace) = self.source.get(&GroupResource::new("", "namespaces"), "", &request.namespace) else {
            return Ok(());
        };
        if let Some(why) = exempt.or_else(|| if changed { class() } else { None }) {
            request.annotations.add(format!("{PREFIX}exempt"), why);
            told::exempted(request);
            return Ok(());
        }
        let (policy, errors) = Policy::read(&namespace, &self.settings.defaults);
        let note = |key: &str, value: String| request.annotations.add(format!("{PREFIX}{key}"), value);
        if !changed {
            // Where everything is allowed nobody looks at what has changed.
            if errors.is_empty() && policy.is_privileged() {
                told::evaluated(request, "enforce", &policy.enforce, true);
                note("enforce-policy", policy.enforce.to_string());
            }
            return Ok(());
        }
        if !errors.is_empty() {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            told::failed(request, false);
            note("error", format!("Failed to parse policy: {}", texts.join(", ")));
        }
        if let Some(why) = violations(&policy.audit, metadata, spec) {
            told::evaluated(request, "audit", &policy.audit, false);
            note("audit-violations", format!("would {why}"));
        }
        if template.is_none() {
            note("enforce-policy", policy.enforce.to_string());
            let refused = violations(&policy.enforce, metadata, spec);
            told::evaluated(request, "enforce", &policy.enforce, refused.is_none());
            if let Some(why) = refused {
                let why = why.replacen("violate", "violates", 1);
                return Err(request.forbidden(why));
            }
        }
        if let Some(why) = violations(&policy.warn, metadata, spec) {
            request.warnings.push(format!("would {why}"));
            told::evaluated(request, "warn", &policy.warn, false);
        }
        Ok(())
    }
}

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for PodSecurity {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let (group, resource) = (request.resource.group.clone(), request.resource.resource.clone());
        match (group.as_str(), resource.as_str()) {
            ("", "namespaces") => self.namespace(request),
            ("", "pods") if !IGNORED.contains(&request.subresource.as_str()) => self.pod(request, None),
            (group, resource) if request.subresource.is_empty() => {
                match TEMPLATES.iter().find(|(g, r, _)| (*g, *r) == (group, resource)) {
                    Some((.., at)) => self.pod(request, Some(at)),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn judged(level: Level, spec: Value) -> String {
        violations(&Standard { level, version: "latest".into() }, &json!({}), &spec).unwrap_or_default()
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
    fn a_pod_with_users_of_its_own_may_be_root_but_not_unmask_what_is_restricted() {
        let context = json!({
            "runAsUser": 0, "runAsNonRoot": false, "procMount": "Unmasked", "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        });
        let spec = json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": context}]});
        assert_eq!(judged(Level::Baseline, spec.clone()), "");
        let unmasked = r#"violate PodSecurity "restricted:latest": procMount (container "a" must not set securityContext.procMount to "Unmasked")"#;
        assert_eq!(judged(Level::Restricted, spec), unmasked);
    }

    #[test]
    fn what_is_wrong_with_a_label_of_selinux_is_said() {
        let options = json!({"type": "foo", "user": "u"});
        let spec = json!({"containers": [{"name": "a", "securityContext": {"seLinuxOptions": options}}]});
        let why = r#"violate PodSecurity "baseline:latest": seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "foo"; user may not be set)"#;
        assert_eq!(judged(Level::Baseline, spec), why);
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

    #[test]
    fn older_versions_know_fewer_rules() {
        let standard = |version: &str| Standard { level: Level::Restricted, version: version.into() };
        let spec = json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "1.2.3.4"}}}]});
        let titles = |version: &str| -> Vec<String> {
            findings(&standard(version), &json!({}), &spec).into_iter().map(|f| f.0).collect()
        };
        assert!(titles("latest").contains(&"probe or lifecycle host".to_owned()));
        assert!(!titles("v1.33").contains(&"probe or lifecycle host".to_owned()));
        assert!(!titles("v1.21").contains(&"unrestricted capabilities".to_owned()));
        let detail = findings(&standard("latest"), &json!({}), &spec).remove(0).1;
        assert_eq!(detail, "container \"a\" uses probe or lifecycle host \"1.2.3.4\"");
    }
}
