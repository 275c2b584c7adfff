//! Events (`audit.k8s.io/v1`): what is known of a request at one of its stages, as JSON.

use crate::policy::{Decision, Level};
use ironclad_api::{UserInfo, time};
use ironclad_json::{Map, Value, json};
use jiff::Timestamp;
use serde::Deserialize;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// It came, and nothing was done.
    RequestReceived,
    /// An answer that goes on for long has begun.
    ResponseStarted,
    /// The answer is out.
    ResponseComplete,
    /// It ended in a panic.
    Panic,
}

impl Stage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// What is known of a request from its head.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the names are those of audit.k8s.io/v1 Event")]
pub struct Facts {
    pub audit_id: String,
    pub request_uri: String,
    pub verb: String,
    pub user: UserInfo,
    pub source_ips: Vec<String>,
    pub user_agent: String,
    pub is_resource: bool,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub received: Timestamp,
}

/// What becomes known while a request is served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learned {
    pub(crate) impersonated: Option<UserInfo>,
    /// The verb that allowed it, if it was a constrained one.
    pub(crate) constraint: String,
    pub(crate) annotations: Map,
    pub(crate) request: Option<Value>,
    pub(crate) response: Option<Value>,
    /// The answer's `Status`, whole for failures.
    pub(crate) status: Option<Value>,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

fn user(user: &UserInfo) -> Value {
    let mut value = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        value["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

fn reference(facts: &Facts, learned: &Learned) -> Value {
    let name = if facts.name.is_empty() { &learned.name } else { &facts.name };
    let fields = [
        ("resource", &facts.resource),
        ("namespace", &facts.namespace),
        ("name", name),
        ("uid", &learned.uid),
        ("apiGroup", &facts.group),
        ("apiVersion", &facts.version),
        ("resourceVersion", &learned.resource_version),
        ("subresource", &facts.subresource),
    ];
    fields.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), json!(v))).collect::<Map>().into()
}

/// The event of a stage.
pub(crate) fn event(facts: &Facts, decision: &Decision, learned: &Learned, stage: Stage) -> Value {
    let mut out = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": decision.level.as_str(), "auditID": facts.audit_id,
        "stage": stage.as_str(), "requestURI": facts.request_uri, "verb": facts.verb, "user": user(&facts.user),
        "requestReceivedTimestamp": time::rfc3339_micro(facts.received),
        "stageTimestamp": time::rfc3339_micro(Timestamp::now()),
    });
    if let Some(impersonated) = &learned.impersonated {
        out["impersonatedUser"] = user(impersonated);
    }
    if !learned.constraint.is_empty() {
        out["authenticationMetadata"] = json!({"impersonationConstraint": learned.constraint});
    }
    if !facts.source_ips.is_empty() {
        out["sourceIPs"] = json!(facts.source_ips);
    }
    if !facts.user_agent.is_empty() {
        out["userAgent"] = json!(facts.user_agent);
    }
    if facts.is_resource {
        out["objectRef"] = reference(facts, learned);
    }
    if stage == Stage::RequestReceived {
        return out;
    }
    if let Some(status) = &learned.status {
        out["responseStatus"] = status.clone();
    }
    if !learned.annotations.is_empty() {
        out["annotations"] = Value::Object(learned.annotations.clone());
    }
    let object =
        |value: &Option<Value>| value.clone().map(|v| if decision.omit_managed_fields { trimmed(v) } else { v });
    if decision.level >= Level::Request
        && let Some(request) = object(&learned.request)
    {
        out["requestObject"] = request;
    }
    if decision.level >= Level::RequestResponse
        && let Some(response) = object(&learned.response)
    {
        out["responseObject"] = response;
    }
    out
}

/// An event as one line of text, the form of older servers.
pub(crate) fn line(event: &Value) -> String {
    let text = |value: &Value, none: &'static str| value.as_str().filter(|t| !t.is_empty()).unwrap_or(none).to_owned();
    let list = |value: &Value| -> String {
        let quoted: Vec<String> = value.as_array().into_iter().flatten().map(ToString::to_string).collect();
        quoted.join(",")
    };
    let (user, other) = (&event["user"], &event["impersonatedUser"]);
    let groups = match user["groups"].as_array().is_some_and(|g| !g.is_empty()) && user["username"] != "" {
        true => list(&user["groups"]),
        false => "<none>".to_owned(),
    };
    let as_groups = if other["groups"].is_array() { list(&other["groups"]) } else { "<lookup>".to_owned() };
    let code = event["responseStatus"]["code"].as_u64().map_or("<deferred>".to_owned(), |code| code.to_string());
    let as_user = if other.is_null() { "<self>".to_owned() } else { text(&other["username"], "") };
    format!(
        "{} AUDIT: id={:?} stage={:?} ip={:?} method={:?} user={:?} groups={groups:?} as={as_user:?} asgroups={as_groups:?} user-agent={:?} namespace={:?} uri={:?} response=\"{code}\"",
        text(&event["requestReceivedTimestamp"], ""),
        text(&event["auditID"], ""),
        text(&event["stage"], ""),
        text(&event["sourceIPs"][0], "<unknown>"),
        text(&event["verb"], ""),
        text(&user["username"], "<none>"),
        text(&event["userAgent"], ""),
        text(&event["objectRef"]["namespace"], "<none>"),
        text(&event["requestURI"], ""),
    )
}

/// An object, the items of a list or the objects of a table, without managed fields.
fn trimmed(mut value: Value) -> Value {
    let trim = |object: &mut Value| {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
    };
    trim(&mut value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        trim(item);
    }
    for row in value.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        row.get_mut("object").into_iter().for_each(trim);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_did_what() {
        let event = json!({"requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z", "auditID": "1", "stage": "ResponseComplete",
            "sourceIPs": ["::1"], "verb": "get", "user": {"username": "eve", "groups": ["a", "b"]}, "requestURI": "/x", "responseStatus": {"code": 200}});
        assert_eq!(
            line(&event),
            r#"2026-01-01T00:00:00.000000Z AUDIT: id="1" stage="ResponseComplete" ip="::1" method="get" user="eve" groups="\"a\",\"b\"" as="<self>" asgroups="<lookup>" user-agent="" namespace="<none>" uri="/x" response="200""#
        );
    }

    #[test]
    fn an_event_holds_what_its_level_allows() {
        let facts = Facts {
            audit_id: "1".into(),
            verb: "create".into(),
            is_resource: true,
            resource: "pods".into(),
            ..Facts::default()
        };
        let learned = Learned {
            request: Some(json!({"metadata": {"managedFields": [1]}})),
            response: Some(json!({"items": [{"metadata": {"managedFields": [1], "name": "a"}}]})),
            name: "a".into(),
            ..Learned::default()
        };
        let at = |level, stage| {
            let decision = Decision { level, omit_stages: Vec::new(), omit_managed_fields: true };
            event(&facts, &decision, &learned, stage)
        };
        let plain = at(Level::Metadata, Stage::ResponseComplete);
        assert_eq!(
            (plain.get("requestObject"), &plain["objectRef"]),
            (None, &json!({"resource": "pods", "name": "a"}))
        );
        let request = at(Level::Request, Stage::ResponseComplete);
        assert_eq!((&request["requestObject"], request.get("responseObject")), (&json!({"metadata": {}}), None));
        let all = at(Level::RequestResponse, Stage::ResponseComplete);
        assert_eq!(all["responseObject"], json!({"items": [{"metadata": {"name": "a"}}]}));
        assert_eq!(at(Level::RequestResponse, Stage::RequestReceived).get("requestObject"), None);
    }
}
