//! Attribute-based access control: policies from a file, one JSON object a line (`--authorization-policy-file`).
//!
//! Invariant: a line that cannot be understood refuses the whole file; nothing is allowed that no line allows.

use crate::{Attributes, Authorizer, Decision, ResourceRule, Rules};
use async_trait::async_trait;
use ironclad_api::{UserInfo, user};
use ironclad_json::Value;
use serde::Deserialize;
use std::path::Path;

const VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const LARGEST: u64 = 64 << 20;

/// What one line allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    user: String,
    group: String,
    readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    non_resource_path: String,
}

/// The authorizer.
#[derive(Debug, Default)]
pub struct Abac {
    policies: Vec<Spec>,
}

impl Abac {
    /// From a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let size = std::fs::metadata(path).map_err(|e| format!("cannot read {shown}: {e}"))?.len();
        if size > LARGEST {
            return Err(format!("{shown} is larger than {LARGEST} bytes"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
        Self::parse(&text).map_err(|why| format!("error reading policy file {shown}, {why}"))
    }

    /// From the text of a file; empty lines and lines that begin with `#` mean nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().map(|(at, line)| (at, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let policies = lines.map(|(at, line)| policy(line).map_err(|why| format!("line {at}: {line}: {why}")));
        Ok(Self { policies: policies.collect::<Result<_, _>>()? })
    }
}

fn policy(line: &str) -> Result<Spec, String> {
    let object: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    let parse = |value: &Value| ironclad_json::from_value::<Spec>(value.clone()).map_err(|e| e.to_string());
    match (version, kind) {
        (Some(VERSION), Some("Policy")) => {
            let mut spec = parse(&object["spec"])?;
            if spec.user == "*" || spec.group == "*" {
                // Everybody who is somebody; never those without credentials.
                spec = Spec { user: named(spec.user), group: everybody(), ..spec };
            }
            Ok(spec)
        }
        (None | Some(""), None | Some("")) => parse(&object).map(unversioned),
        _ => Err(format!("no kind {:?} is registered for version {:?}", kind.unwrap_or(""), version.unwrap_or(""))),
    }
}

fn everybody() -> String {
    user::ALL_AUTHENTICATED.to_owned()
}

fn named(user: String) -> String {
    if user == "*" { String::new() } else { user }
}

/// A policy of the first form, in which what is not said means everything.
fn unversioned(old: Spec) -> Spec {
    let all = |text: &str| if text.is_empty() { "*".to_owned() } else { text.to_owned() };
    let anybody = old.user.is_empty() && old.group.is_empty() || old.user == "*" || old.group == "*";
    let paths = old.namespace.is_empty() && old.resource.is_empty();
    Spec {
        group: if anybody { everybody() } else { old.group },
        user: named(old.user),
        namespace: all(&old.namespace),
        resource: all(&old.resource),
        api_group: "*".to_owned(),
        non_resource_path: if paths { "*".to_owned() } else { String::new() },
        readonly: old.readonly,
    }
}

impl Spec {
    fn concerns(&self, user: &UserInfo) -> bool {
        let fits = |wanted: &str, is: bool| wanted.is_empty() || is;
        (!self.user.is_empty() || !self.group.is_empty())
            && fits(&self.user, self.user == user.name)
            && fits(&self.group, user.is_in(&self.group))
    }

    fn allows(&self, a: &Attributes) -> bool {
        if self.readonly && !matches!(a.verb.as_str(), "get" | "list" | "watch") {
            return false;
        }
        let fits = |wanted: &str, is: &str| wanted == "*" || wanted == is;
        if a.is_resource {
            return fits(&self.namespace, &a.namespace)
                && fits(&self.resource, &a.resource)
                && fits(&self.api_group, &a.group);
        }
        let path = self.non_resource_path.as_str();
        fits(path, &a.path) || path.strip_suffix('*').is_some_and(|prefix| a.path.starts_with(prefix))
    }

    fn rules(&self, namespace: &str) -> Vec<ResourceRule> {
        let list = |text: &str| vec![text.to_owned()];
        let verbs: &[&str] = if self.readonly { &["get", "list", "watch"] } else { &["*"] };
        let verbs: Vec<String> = verbs.iter().map(|v| (*v).to_owned()).collect();
        let mut out = Vec::new();
        if !self.resource.is_empty() && (self.namespace == "*" || self.namespace == namespace) {
            let (api_groups, resources) = (list(&self.api_group), list(&self.resource));
            out.push(ResourceRule { verbs: verbs.clone(), api_groups, resources, ..ResourceRule::default() });
        }
        if !self.non_resource_path.is_empty() {
            let non_resource_urls = list(&self.non_resource_path);
            out.push(ResourceRule { verbs, non_resource_urls, ..ResourceRule::default() });
        }
        out
    }
}

#[async_trait]
impl Authorizer for Abac {
    async fn authorize(&self, a: &Attributes) -> Decision {
        match self.policies.iter().any(|p| p.concerns(&a.user) && p.allows(a)) {
            true => Decision::Allow(String::new()),
            false => Decision::NoOpinion("No policy matched.".to_owned()),
        }
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mine = self.policies.iter().filter(|p| p.concerns(user));
        Rules { rules: mine.flat_map(|p| p.rules(namespace)).collect(), ..Rules::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: &str = r#"
# who may do what
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"alice","namespace":"*","resource":"*","apiGroup":"*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"bob","namespace":"a","resource":"pods","readonly":true}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"*","nonResourcePath":"/version*","readonly":true}}
{"user":"old","resource":"services"}
{"group":"ops"}
"#;

    fn may(user: &str, groups: &[&str], verb: &str, namespace: &str, what: &str) -> bool {
        let abac = Abac::parse(POLICIES).unwrap();
        let user = if user.is_empty() { UserInfo::anonymous() } else { UserInfo::new(user, groups) };
        let a = Attributes { user, verb: verb.into(), namespace: namespace.into(), ..Attributes::default() };
        let a = match what.starts_with('/') {
            true => Attributes { path: what.into(), ..a },
            false => Attributes { resource: what.into(), is_resource: true, ..a },
        };
        abac.policies.iter().any(|p| p.concerns(&a.user) && p.allows(&a))
    }

    #[test]
    fn a_line_allows_what_it_says_and_no_more() {
        assert!(may("alice", &[], "delete", "x", "secrets"));
        assert!(!may("alice", &[], "get", "", "/metrics"), "a path of its own");
        assert!(may("bob", &[], "list", "a", "pods"));
        assert!(!may("bob", &[], "create", "a", "pods"), "he only reads");
        assert!(!may("bob", &[], "list", "b", "pods"));
        assert!(!may("bob", &[], "list", "a", "services"));
        assert!(may("bob", &[], "get", "", "/version/"));
        assert!(!may("", &[], "get", "", "/version"), "a star is not for those without credentials");
        assert!(may("old", &[], "create", "a", "services") && !may("old", &[], "get", "", "/metrics"));
        assert!(may("x", &["ops"], "delete", "a", "pods") && may("x", &["ops"], "get", "", "/metrics"));
    }

    #[tokio::test]
    async fn rules_are_listed() {
        let abac = Abac::parse(POLICIES).unwrap();
        let rules = abac.rules(&UserInfo::new("bob", &[]), "a").await.rules;
        assert_eq!(rules[0].verbs, ["get", "list", "watch"]);
        assert_eq!(rules[1].non_resource_urls, ["/version*"]);
        assert_eq!(abac.rules(&UserInfo::new("bob", &[]), "b").await.rules.len(), 1);
    }

    #[test]
    fn a_line_that_is_no_policy_refuses_the_file() {
        for (text, why) in [
            ("{", "line 0"),
            (r#"{"apiVersion":"v9","kind":"Policy"}"#, "no kind \"Policy\" is registered for version \"v9\""),
            (r#"{"user": 7}"#, "invalid type"),
        ] {
            let error = Abac::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
