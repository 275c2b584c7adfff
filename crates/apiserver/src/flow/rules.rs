//! FlowSchemas as they are matched: subjects and rules of requests, in order of precedence.

use super::Class;
use ironclad_api::UserInfo;
use ironclad_json::Value;
use std::sync::Arc;

/// What a request asks, as far as it matters for its class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'a str,
    pub(crate) path: &'a str,
    pub(crate) is_resource: bool,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
}

/// A FlowSchema.
pub(super) struct Schema {
    pub(super) class: Arc<Class>,
    pub(super) precedence: i64,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

enum Distinguisher {
    None,
    User,
    Namespace,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

enum Subject {
    User(String),
    Group(String),
    /// The beginning of the user's name, or all of it.
    Account {
        prefix: String,
        whole: bool,
    },
}

struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster: bool,
}

struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn list<T>(value: &Value, parse: fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(parse).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|e| e == "*" || e == wanted)
}

impl Schema {
    pub(super) fn parse(object: &Value, level: &Value) -> Self {
        let spec = &object["spec"];
        let text = |object: &Value, key: &str| Arc::<str>::from(object["metadata"][key].as_str().unwrap_or_default());
        let class = Class {
            schema: text(object, "name"),
            schema_uid: text(object, "uid"),
            level: text(level, "name"),
            level_uid: text(level, "uid"),
        };
        Self {
            class: Arc::new(class),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
                Some("ByUser") => Distinguisher::User,
                Some("ByNamespace") => Distinguisher::Namespace,
                _ => Distinguisher::None,
            },
            rules: list(&spec["rules"], Rule::parse),
        }
    }

    pub(super) fn matches(&self, user: &UserInfo, asked: &Asked<'_>) -> bool {
        self.rules.iter().any(|r| r.matches(user, asked))
    }

    /// What tells flows apart.
    pub(super) fn flow<'a>(&self, user: &'a UserInfo, asked: &Asked<'a>) -> &'a str {
        match self.distinguisher {
            Distinguisher::None => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => asked.namespace,
        }
    }
}

impl Rule {
    fn parse(value: &Value) -> Self {
        Self {
            subjects: value["subjects"].as_array().into_iter().flatten().filter_map(Subject::parse).collect(),
            resources: list(&value["resourceRules"], |r| ResourceRule {
                verbs: texts(&r["verbs"]),
                groups: texts(&r["apiGroups"]),
                resources: texts(&r["resources"]),
                namespaces: texts(&r["namespaces"]),
                cluster: r["clusterScope"] == true,
            }),
            paths: list(&value["nonResourceRules"], |r| PathRule {
                verbs: texts(&r["verbs"]),
                paths: texts(&r["nonResourceURLs"]),
            }),
        }
    }

    fn matches(&self, user: &UserInfo, asked: &Asked<'_>) -> bool {
        self.subjects.iter().any(|s| s.matches(user))
            && match asked.is_resource {
                true => self.resources.iter().any(|r| r.matches(asked)),
                false => self.paths.iter().any(|r| r.matches(asked)),
            }
    }
}

impl Subject {
    fn parse(value: &Value) -> Option<Self> {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        match value["kind"].as_str()? {
            "User" => text(&value["user"]["name"]).map(Self::User),
            "Group" => text(&value["group"]["name"]).map(Self::Group),
            "ServiceAccount" => {
                let account = &value["serviceAccount"];
                let (namespace, name) = (account["namespace"].as_str()?, account["name"].as_str()?);
                let (name, whole) = if name == "*" { ("", false) } else { (name, true) };
                Some(Self::Account { prefix: format!("system:serviceaccount:{namespace}:{name}"), whole })
            }
            _ => None,
        }
    }

    fn matches(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.is_in(name),
            Self::Account { prefix, whole: true } => *prefix == user.name,
            Self::Account { prefix, whole: false } => user.name.starts_with(prefix),
        }
    }
}

impl ResourceRule {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        let resource = |wanted: &String| {
            wanted == "*"
                || match (wanted.split_once('/'), asked.subresource) {
                    (None, "") => wanted == asked.resource,
                    (Some((resource, sub)), given) => resource == asked.resource && sub == given,
                    (None, _) => false,
                }
        };
        let place = match asked.namespace {
            "" => self.cluster,
            namespace => has(&self.namespaces, namespace),
        };
        place && has(&self.verbs, asked.verb) && has(&self.groups, asked.group) && self.resources.iter().any(resource)
    }
}

impl PathRule {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        let path = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => asked.path.starts_with(beginning),
            None => wanted == asked.path,
        };
        has(&self.verbs, asked.verb) && self.paths.iter().any(path)
    }
}
