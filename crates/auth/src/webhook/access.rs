//! What somebody may do, by a webhook (`--authorization-webhook-config-file`, or one of an AuthorizationConfiguration).

use super::{MOST, post, user_value};
use crate::expression::{Expression, Over};
use crate::{Attributes, Authorizer, Decision, Rules, metrics};
use async_trait::async_trait;
use ironclad_api::UserInfo;
use ironclad_api::expiring::Expiring;
use ironclad_api::selector::{FieldSelector, LabelSelector};
use ironclad_json::{Map, Value, json};
use ironclad_remote::Remote;
use std::time::{Duration, Instant};

/// A longer question is asked every time.
const LONGEST_KEY: usize = 10_000;

/// What an unreachable webhook means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The next authorizer is asked.
    NoOpinion,
    /// No.
    Deny,
}

/// How a webhook is asked.
#[derive(Clone, Debug)]
pub struct AccessOptions {
    /// Version of `authorization.k8s.io`.
    pub version: String,
    /// How long a yes is kept.
    pub allowed: Duration,
    /// How long a no is kept.
    pub refused: Duration,
    /// How long one attempt may take.
    pub patience: Duration,
    /// What its absence means.
    pub failure: FailurePolicy,
    /// All must hold, or the webhook is not asked (CEL over `request`).
    pub conditions: Vec<String>,
    /// Its name in metrics.
    pub name: String,
}

impl Default for AccessOptions {
    fn default() -> Self {
        Self {
            version: "v1".to_owned(),
            allowed: Duration::from_mins(5),
            refused: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            failure: FailurePolicy::NoOpinion,
            conditions: Vec::new(),
            name: "webhook".to_owned(),
        }
    }
}

/// The authorizer.
pub struct AccessWebhook {
    remote: Remote,
    options: AccessOptions,
    conditions: Vec<Expression>,
    known: Expiring<String, Decision>,
}

impl AccessWebhook {
    /// Asks `remote` as the options say.
    pub fn new(remote: Remote, options: AccessOptions) -> Result<Self, String> {
        let compile = |source: &String| Expression::compile(source, Over::Request);
        let conditions = options.conditions.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { remote, options, conditions, known: Expiring::new(MOST) })
    }

    fn failed(&self, why: &str) -> Decision {
        tracing::warn!(why, "an authorization webhook gives no answer");
        crate::remarks::fail(why);
        match self.options.failure {
            FailurePolicy::NoOpinion => Decision::NoOpinion(String::new()),
            FailurePolicy::Deny => Decision::Deny(String::new()),
        }
    }

    /// Counts a question that was put.
    fn tell(&self, answer: &Result<Value, String>, began: Instant) {
        let result = match answer {
            Ok(_) => "success",
            Err(_) if began.elapsed() >= self.options.patience => "timeout",
            Err(_) => "error",
        };
        let labels = [("name", &*self.options.name), ("result", result)];
        metrics::HOOK_ASKED.add(&labels, 1);
        metrics::HOOK_TIMES.took(&labels, began.elapsed());
        if answer.is_err() && self.options.failure == FailurePolicy::NoOpinion {
            metrics::HOOK_OPEN.add(&labels, 1);
        }
    }

    /// Whether the webhook is asked at all; an error when a condition cannot be evaluated and none says no.
    fn concerns(&self, spec: &Value) -> Result<bool, String> {
        let (shown, mut failure) = (shown(spec), None);
        for condition in &self.conditions {
            match condition.holds(&shown) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => failure = Some(why),
            }
        }
        failure.map_or(Ok(true), Err)
    }
}

fn requirements(list: &[(String, &'static str, Vec<String>)]) -> Value {
    list.iter()
        .map(|(key, operator, values)| match values.is_empty() {
            true => json!({"key": key, "operator": operator}),
            false => json!({"key": key, "operator": operator, "values": values}),
        })
        .collect()
}

/// The spec of the review that asks what `a` asks.
fn spec(a: &Attributes) -> Value {
    let mut spec = user_value(&a.user, "user");
    let mut put = Map::new();
    let mut texts = |fields: &[(&str, &String)]| {
        put.extend(fields.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| ((*k).to_owned(), json!(v))));
        std::mem::take(&mut put)
    };
    if !a.is_resource {
        let plain = texts(&[("path", &a.path), ("verb", &a.verb)]);
        spec.insert("nonResourceAttributes".to_owned(), plain.into());
        return spec.into();
    }
    let mut resource = texts(&[
        ("namespace", &a.namespace),
        ("verb", &a.verb),
        ("group", &a.group),
        ("version", &a.version),
        ("resource", &a.resource),
        ("subresource", &a.subresource),
        ("name", &a.name),
    ]);
    for (field, text, parsed) in [
        ("labelSelector", &a.label_selector, LabelSelector::parse(&a.label_selector).ok().map(|s| s.requirements())),
        ("fieldSelector", &a.field_selector, FieldSelector::parse(&a.field_selector).ok().map(|s| s.requirements())),
    ] {
        if !text.is_empty()
            && let Some(parsed) = parsed
        {
            resource.insert(field.to_owned(), json!({"requirements": requirements(&parsed)}));
        }
    }
    spec.insert("resourceAttributes".to_owned(), resource.into());
    spec.into()
}

/// What conditions see of the spec: fields that are not sent because they say nothing are there.
fn shown(spec: &Value) -> Value {
    let mut shown = spec.clone();
    let fill = |at: Option<&mut Value>, fields: &[(&str, Value)]| {
        if let Some(object) = at.and_then(Value::as_object_mut) {
            for (name, nothing) in fields.iter().filter(|(name, _)| !object.contains_key(name)).collect::<Vec<_>>() {
                object.insert((*name).to_owned(), nothing.clone());
            }
        }
    };
    let none = |names: &[&'static str]| names.iter().map(|name| (*name, json!(""))).collect::<Vec<_>>();
    let mut user = none(&["user", "uid"]);
    user.extend([("groups", json!([])), ("extra", json!({}))]);
    fill(Some(&mut shown), &user);
    let resource = none(&["namespace", "verb", "group", "version", "resource", "subresource", "name"]);
    fill(shown.get_mut("resourceAttributes"), &resource);
    fill(shown.get_mut("nonResourceAttributes"), &none(&["path", "verb"]));
    shown
}

fn understood(answer: &Value) -> Decision {
    let status = &answer["status"];
    let reason = status["reason"].as_str().unwrap_or_default().to_owned();
    match (status["allowed"] == true, status["denied"] == true) {
        (true, true) => {
            Decision::Deny("webhook subject access review returned both allow and deny response".to_owned())
        }
        (false, true) => Decision::Deny(reason),
        (true, false) => Decision::Allow(reason),
        (false, false) => Decision::NoOpinion(reason),
    }
}

#[async_trait]
impl Authorizer for AccessWebhook {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let spec = spec(attributes);
        let began = Instant::now();
        let concerns = self.concerns(&spec);
        let labels = [("name", &*self.options.name), ("type", "Webhook")];
        if !self.conditions.is_empty() {
            metrics::CONDITION_TIMES.took(&labels, began.elapsed());
        }
        match concerns {
            Ok(true) => {}
            Ok(false) => {
                metrics::CONDITION_EXCLUSIONS.add(&labels, 1);
                return Decision::NoOpinion(String::new());
            }
            Err(why) => {
                metrics::CONDITION_ERRORS.add(&labels, 1);
                return self.failed(&why);
            }
        }
        let key = spec.to_string();
        if let Some(known) = self.known.get(&key) {
            return known;
        }
        let review = json!({
            "kind": "SubjectAccessReview", "apiVersion": format!("authorization.k8s.io/{}", self.options.version),
            "metadata": {}, "spec": spec,
        });
        let began = Instant::now();
        let answer = post(&self.remote, &review, self.options.patience).await;
        self.tell(&answer, began);
        let decision = match answer {
            Ok(answer) => understood(&answer),
            Err(why) => return self.failed(&why),
        };
        if key.len() < LONGEST_KEY {
            let life = if matches!(decision, Decision::Allow(_)) { self.options.allowed } else { self.options.refused };
            self.known.put(key, decision.clone(), life);
        }
        decision
    }

    async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
        let why = "webhook authorizer does not support user rule resolution";
        Rules { incomplete: true, errors: vec![why.to_owned()], ..Rules::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_asked_in_full() {
        let a = Attributes {
            user: UserInfo::new("jane", &["devs"]),
            verb: "list".into(),
            namespace: "a".into(),
            version: "v1".into(),
            resource: "pods".into(),
            is_resource: true,
            label_selector: "app in (x),!y".into(),
            ..Attributes::default()
        };
        let spec = spec(&a);
        assert_eq!(spec["user"], "jane");
        assert_eq!(spec["resourceAttributes"]["resource"], "pods");
        assert_eq!(
            spec["resourceAttributes"]["labelSelector"]["requirements"][1],
            json!({"key": "y", "operator": "DoesNotExist"})
        );
        let seen = shown(&spec);
        assert_eq!((&seen["resourceAttributes"]["namespace"], &seen["uid"]), (&json!("a"), &json!("")));
        assert_eq!((&seen["resourceAttributes"]["name"], &seen["extra"]), (&json!(""), &json!({})));
        let path = super::spec(&Attributes { path: "/metrics".into(), verb: "get".into(), ..Attributes::default() });
        assert_eq!(path["nonResourceAttributes"], json!({"path": "/metrics", "verb": "get"}));
        assert_eq!(understood(&json!({"status": {"allowed": true, "reason": "r"}})), Decision::Allow("r".into()));
        assert_eq!(understood(&json!({"status": {"allowed": false, "denied": true}})), Decision::Deny(String::new()));
        assert_eq!(understood(&json!({})), Decision::NoOpinion(String::new()));
    }
}
