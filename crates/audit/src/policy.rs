//! The policy (`audit.k8s.io/v1`): the first rule that fits a request says how much of it is kept.

mod check;

use crate::event::Stage;
use crate::{Error, Result};
use ironclad_api::config::{self, Scheme};
use ironclad_api::shape::Shapes;
use serde::Deserialize;
use std::path::Path;
use std::sync::LazyLock;

const LARGEST: u64 = 1 << 20;

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::read(include_str!("shapes.txt")));

const SCHEME: Scheme =
    Scheme { name: "k8s.io/apiserver/pkg/audit/scheme.go:30", versions: &["audit.k8s.io/v1"], others: &[] };

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who did what.
    Metadata,
    /// And what was sent.
    Request,
    /// And what was answered.
    RequestResponse,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A whole policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What a request is about, for the rules.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names are those of request info")]
pub struct Subject<'a> {
    pub user: &'a str,
    pub groups: &'a [String],
    pub verb: &'a str,
    pub is_resource: bool,
    pub path: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// What the policy says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How much is kept.
    pub level: Level,
    /// At which stages nothing is.
    pub omit_stages: Vec<Stage>,
    /// Whether managed fields are left out.
    pub omit_managed_fields: bool,
}

impl Policy {
    /// From YAML or JSON. Fields that nobody knows are told and left out, as stock does.
    pub fn parse(text: &str) -> Result<Self> {
        let undecoded = |e| Error::Policy(format!("failed decoding: {e}"));
        let (value, version, odd) = config::decode_loosely(text, "Policy", &SCHEME, &SHAPES).map_err(undecoded)?;
        if version.is_empty() {
            let why = "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy";
            return Err(Error::Policy(why.to_owned()));
        }
        for why in odd {
            tracing::warn!(why, "the audit policy is not read strictly");
        }
        let errors = check::errors(&value);
        if !errors.is_empty() {
            return Err(Error::Policy(ironclad_api::field::aggregate(&errors)));
        }
        let parsed: Self = ironclad_json::from_value(value).map_err(|e| undecoded(e.to_string()))?;
        if parsed.rules.is_empty() {
            return Err(Error::Policy("loaded illegal policy with 0 rules".to_owned()));
        }
        Ok(parsed)
    }

    /// From a file; the errors are worded as stock words them.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let unread = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => format!("open {shown}: no such file or directory"),
            _ => format!("open {shown}: {e}"),
        };
        let unread = |e| Error::Policy(format!("failed to read file path \"{shown}\": {}", unread(e)));
        if std::fs::metadata(path).map_err(unread)?.len() > LARGEST {
            return Err(Error::Policy(format!("{shown} is larger than {LARGEST} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(unread)?;
        Self::parse(&text).map_err(|why| Error::Policy(format!("{why}: from file {shown}")))
    }

    /// What is to be kept of a request; nothing when no rule fits.
    pub fn decide(&self, subject: &Subject<'_>) -> Decision {
        let Some(rule) = self.rules.iter().find(|r| r.fits(subject)) else {
            return Decision { level: Level::None, omit_stages: self.omit_stages.clone(), omit_managed_fields: false };
        };
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(rule.omit_stages.iter().filter(|s| !self.omit_stages.contains(s)));
        let omit_managed_fields = rule.omit_managed_fields.unwrap_or(self.omit_managed_fields);
        Decision { level: rule.level, omit_stages, omit_managed_fields }
    }
}

impl Rule {
    fn fits(&self, s: &Subject<'_>) -> bool {
        let has = |list: &[String], text: &str| list.iter().any(|x| x == text);
        if !self.users.is_empty() && !has(&self.users, s.user) {
            return false;
        }
        if !self.user_groups.is_empty() && !s.groups.iter().any(|g| has(&self.user_groups, g)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, s.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return s.is_resource && self.fits_resource(s);
        }
        if !self.non_resource_urls.is_empty() {
            return !s.is_resource && self.non_resource_urls.iter().any(|url| fits_path(url, s.path));
        }
        true
    }

    fn fits_resource(&self, s: &Subject<'_>) -> bool {
        if !self.namespaces.is_empty() && !self.namespaces.iter().any(|n| n == s.namespace) {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let whole =
            if s.subresource.is_empty() { s.resource.to_owned() } else { format!("{}/{}", s.resource, s.subresource) };
        self.resources.iter().filter(|r| r.group == s.group || r.group == "*").any(|r| {
            let named = r.resource_names.is_empty() || r.resource_names.iter().any(|n| n == s.name);
            let one = |wanted: &String| {
                *wanted == whole
                    || wanted == "*"
                    || (!s.subresource.is_empty() && wanted.strip_prefix("*/") == Some(s.subresource))
                    || wanted.strip_suffix("/*") == Some(s.resource)
            };
            r.resources.is_empty() || (named && r.resources.iter().any(one))
        })
    }
}

fn fits_path(pattern: &str, path: &str) -> bool {
    pattern == "*" || pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ['system:kube-proxy']
  verbs: [watch]
- level: RequestResponse
  omitManagedFields: false
  resources:
  - group: ''
    resources: [pods, '*/scale', 'services/*']
  - group: apps
- level: Request
  omitStages: [ResponseStarted]
  namespaces: [kube-system]
  resources: [{group: '', resources: [configmaps], resourceNames: [a]}]
- level: Metadata
  nonResourceURLs: ['/healthz*']
- level: Metadata
  userGroups: [admins]
- level: Metadata
  resources: [{group: '*', resources: [everywhere]}]
";

    fn level(s: &Subject<'_>) -> Level {
        Policy::parse(POLICY).unwrap().decide(s).level
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let on = |resource, subresource| Subject {
            verb: "get",
            is_resource: true,
            resource,
            subresource,
            ..Subject::default()
        };
        assert_eq!(level(&Subject { user: "system:kube-proxy", verb: "watch", ..on("pods", "") }), Level::None);
        assert_eq!(level(&on("pods", "")), Level::RequestResponse);
        assert_eq!(level(&on("pods", "log")), Level::None);
        assert_eq!(level(&on("replicationcontrollers", "scale")), Level::RequestResponse);
        assert_eq!(level(&on("services", "proxy")), Level::RequestResponse);
        assert_eq!(level(&on("services", "")), Level::RequestResponse, "services/* names the whole as well");
        assert_eq!(level(&Subject { group: "apps", ..on("deployments", "") }), Level::RequestResponse);
        let map = Subject { namespace: "kube-system", name: "a", ..on("configmaps", "") };
        assert_eq!(level(&map), Level::Request);
        assert_eq!(level(&Subject { name: "b", ..map }), Level::None);
        assert_eq!(level(&Subject { path: "/healthz/etcd", verb: "get", ..Subject::default() }), Level::Metadata);
        assert_eq!(level(&Subject { group: "x.org", ..on("everywhere", "") }), Level::Metadata);
        let admins = ["admins".to_owned()];
        assert_eq!(level(&Subject { groups: &admins, path: "/x", ..Subject::default() }), Level::Metadata);
        let decided = Policy::parse(POLICY).unwrap().decide(&map);
        assert_eq!(decided.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(
            decided.omit_managed_fields && !Policy::parse(POLICY).unwrap().decide(&on("pods", "")).omit_managed_fields
        );
    }

    #[test]
    fn mistakes_are_named() {
        let with = |rules: &str| Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}"));
        let table = [
            ("[]", "loaded illegal policy with 0 rules"),
            (
                "[{level: Everything}]",
                r#"rules[0].level: Unsupported value: "Everything": supported values: "None", "Metadata", "Request", "RequestResponse""#,
            ),
            ("[{}]", "rules[0].level: Required value"),
            (
                "[{level: None, nonResourceURLs: [/a], namespaces: [b]}]",
                r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs"#,
            ),
            (
                "[{level: None, nonResourceURLs: ['a*b']}]",
                r#"[rules[0].nonResourceURLs[0]: Invalid value: "a*b": non-resource URL rules must begin with a '/' character, rules[0].nonResourceURLs[0]: Invalid value: "a*b": non-resource URL wildcards '*' must be the final character of the rule]"#,
            ),
            (
                "[{level: None, resources: [{resourceNames: [a]}]}]",
                r#"rules[0].resources.resourceNames: Invalid value: ["a"]: using resourceNames requires at least one resource"#,
            ),
            (
                "[{level: None, omitStages: [Never]}]",
                r#"rules[0].omitStages[0]: Invalid value: "Never": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"#,
            ),
            (
                "[{level: None, resources: [{group: rbac/v1}]}]",
                r#"rules[0].resources.group: Invalid value: "rbac/v1": "#,
            ),
        ];
        for (rules, why) in table {
            let error = with(rules).expect_err(rules).to_string();
            assert!(error.contains(why), "{rules}: {error}");
        }
        assert!(with("[{level: None, colour: red}]").is_ok(), "an unknown field is no mistake");
    }
}
