//! Expressions in admission: what they are given, how checks of authorization are answered, match conditions.

use crate::Request;
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, GroupVersionKind, GroupVersionResource, UserInfo};
use ironclad_auth::{Attributes, Authorizer, Decision};
use ironclad_cel::admission::{NAMESPACE, REQUEST, Scope, environment};
use ironclad_cel::{Activation, Budget, Check, Error, Program, Val, authorizer, resource_check};
use ironclad_json::{Value, json};
use std::sync::Arc;

/// What is said of expressions that together cost too much.
pub(crate) const SPENT: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
/// Most that the match conditions of one request may cost.
const CONDITIONS_LIMIT: u64 = ironclad_cel::TOTAL_LIMIT / 4;

/// The values that expressions are given, as JSON.
#[derive(Debug)]
pub(crate) struct Inputs {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
    check: Check,
}

/// `AdmissionRequest` as reviews and expressions see it, without the objects.
pub(crate) fn request_value(request: &Request, resource: &GroupVersionResource, kind: &GroupVersionKind) -> Value {
    let gvk = |k: &GroupVersionKind| json!({"group": k.group, "version": k.version, "kind": k.kind});
    let gvr = |r: &GroupVersionResource| json!({"group": r.group, "version": r.version, "resource": r.resource});
    let mut value = json!({
        "kind": gvk(kind),
        "resource": gvr(resource),
        "requestKind": gvk(&request.kind),
        "requestResource": gvr(&request.resource),
        "operation": request.operation.as_str(),
        "userInfo": user_value(&request.user),
        "dryRun": request.dry_run,
        "options": request.options,
    });
    let texts = [
        ("subResource", &request.subresource),
        ("requestSubResource", &request.subresource),
        ("name", &request.name),
        ("namespace", &request.namespace),
    ];
    for (field, text) in texts.into_iter().filter(|(_, t)| !t.is_empty()) {
        value[field] = json!(text);
    }
    value
}

fn user_value(user: &UserInfo) -> Value {
    let mut value = json!({"username": user.name});
    if !user.uid.is_empty() {
        value["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        value["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

impl Inputs {
    /// `object` and `old` are in the version in which the request is seen.
    pub(crate) fn new(
        request: &Request,
        seen: (&GroupVersionResource, &GroupVersionKind),
        object: Value,
        old: Value,
        source: &dyn Source,
    ) -> Self {
        let value = request_value(request, seen.0, seen.1);
        let itself = request.kind.group.is_empty() && request.kind.kind == "Namespace";
        // A namespace lies in itself, but expressions have it as the object.
        let namespace = match if itself { "" } else { request.namespace.as_str() } {
            "" => Value::Null,
            name => source.get(&GroupResource::new("", "namespaces"), "", name).map_or(Value::Null, |n| (*n).clone()),
        };
        let check = Check {
            group: request.resource.group.clone(),
            resource: request.resource.resource.clone(),
            subresource: request.subresource.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            ..Check::default()
        };
        Self { object, old, request: value, namespace, check }
    }

    /// The variables that every expression in admission has.
    pub(crate) fn activation(&self) -> Activation<'_> {
        let mut activation = Activation::new();
        activation.set("object", Val::json(&self.object, None));
        activation.set("oldObject", Val::json(&self.old, None));
        activation.set("request", Val::json(&self.request, Some(&REQUEST)));
        activation.set("namespaceObject", Val::json(&self.namespace, Some(&NAMESPACE)));
        activation.set("authorizer", authorizer());
        activation.set("authorizer.requestResource", resource_check(self.check.clone()));
        activation
    }
}

/// Evaluates within the budget; asks the authorizer for each check that the expression makes.
pub(crate) async fn evaluate<'a>(
    program: &Program,
    activation: &Activation<'a>,
    budget: &mut Budget,
    authorizer: &dyn Authorizer,
    user: &UserInfo,
) -> Result<Val<'a>, Error> {
    loop {
        let mut part = budget.one_call();
        match program.eval(activation, &mut part) {
            // What was evaluated up to here is evaluated again, and costs only once.
            Err(Error::Pending(check)) => {
                let decision = decide(authorizer, user, &check).await;
                activation.decide(*check, decision);
            }
            other => {
                let spent = budget.spend(&part);
                return other.and_then(|v| spent.map(|()| v));
            }
        }
    }
}

async fn decide(authorizer: &dyn Authorizer, user: &UserInfo, check: &Check) -> ironclad_cel::Decision {
    let user = match &check.account {
        Some((namespace, name)) => {
            let all = format!("system:serviceaccounts:{namespace}");
            UserInfo::new(&format!("system:serviceaccount:{namespace}:{name}"), &["system:serviceaccounts", &all])
        }
        None => user.clone(),
    };
    let attributes = Attributes {
        user,
        verb: check.verb.clone(),
        namespace: check.namespace.clone(),
        group: check.group.clone(),
        version: "*".into(),
        resource: check.resource.clone(),
        subresource: check.subresource.clone(),
        name: check.name.clone(),
        path: check.path.clone().unwrap_or_default(),
        is_resource: check.path.is_none(),
        field_selector: check.field_selector.clone(),
        label_selector: check.label_selector.clone(),
    };
    let (allowed, reason) = match authorizer.authorize(&attributes).await {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
    };
    ironclad_cel::Decision { allowed, reason, error: None }
}

/// Something as Go writes it in JSON: without the signs that mean something in HTML.
pub(crate) fn go_json(what: &impl serde::Serialize) -> Option<String> {
    let text = serde_json::to_string(what).ok()?;
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    Some(out)
}

/// Match conditions of a webhook or a policy, compiled.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    programs: Vec<(String, Result<Program, String>)>,
}

/// What match conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    Yes,
    No,
    /// They cannot tell.
    Failed(String),
}

impl Conditions {
    pub(crate) fn read(conditions: &Value, scope: &Scope) -> Self {
        let env = environment(scope);
        let one = |c: &Value| {
            let source = c["expression"].as_str().unwrap_or_default();
            (source.to_owned(), env.compile(source).map_err(|e| format!("compilation error: compilation failed: {e}")))
        };
        Self { programs: conditions.as_array().into_iter().flatten().map(one).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// A condition that is false decides, whatever the others do; an error does where none is false.
    pub(crate) async fn check(
        &self,
        activation: &Activation<'_>,
        authorizer: &dyn Authorizer,
        user: &UserInfo,
    ) -> Matched {
        if self.is_empty() {
            return Matched::Yes;
        }
        // Which namespace it is the conditions are not told.
        let mut activation = activation.clone();
        activation.set("namespaceObject", Val::Null);
        let activation = &activation;
        let mut budget = Budget::new(CONDITIONS_LIMIT);
        let mut errors = Vec::new();
        for (source, program) in &self.programs {
            let program = match program {
                Ok(program) => program,
                Err(why) => {
                    errors.push(why.clone());
                    continue;
                }
            };
            match evaluate(program, activation, &mut budget, authorizer, user).await {
                // Who spends everything decides nothing.
                Err(Error::Cost) if budget.left() == 0 => return Matched::Failed(SPENT.to_owned()),
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Matched::No,
                Ok(_) => errors.push(format!("expression '{source}' resulted in error: result was not a boolean")),
                Err(error) => errors.push(format!("expression '{source}' resulted in error: {error}")),
            }
        }
        match errors.as_slice() {
            [] => Matched::Yes,
            [one] => Matched::Failed(one.clone()),
            many => Matched::Failed(format!("[{}]", many.join(", "))),
        }
    }
}

/// What plugins that evaluate expressions need.
#[derive(Clone)]
pub(crate) struct Judges {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) world: Arc<dyn crate::world::World>,
    /// How webhooks are reached.
    pub(crate) egress: ironclad_remote::Egress,
    /// Directories of manifests.
    pub(crate) manifests: crate::Manifests,
}

impl Judges {
    /// The objects of a request in the version in which it is to be seen.
    pub(crate) async fn objects(
        &self,
        request: &Request,
        kind: &GroupVersionKind,
    ) -> Result<(Value, Value), ironclad_api::ApiError> {
        let same = *kind == request.kind;
        let object = request.object.clone().unwrap_or_default();
        let old = request.old.as_deref().cloned().unwrap_or_default();
        if same {
            return Ok((object, old));
        }
        let convert = async |o: Value| if o.is_null() { Ok(o) } else { self.world.convert(o, kind).await };
        Ok((convert(object).await?, convert(old).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_writes_holds_no_signs_of_html() {
        assert_eq!(go_json(&json!({"a": "1 > 2 && <b>"})).unwrap(), r#"{"a":"1 \u003e 2 \u0026\u0026 \u003cb\u003e"}"#);
    }
}
