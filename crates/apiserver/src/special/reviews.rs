//! Reviews: questions in the form of objects, answered and not stored.

use crate::registry::{Answer, Request};
use crate::server::Inner;
use ironclad_api::{ApiError, ErrorList, FieldError, Path, UserInfo, names, object, time};
use ironclad_auth::{Attributes, Decision};
use ironclad_json::{Value, json};
use std::collections::BTreeMap;

fn user_value(user: &UserInfo) -> Value {
    let mut value = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        value["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// A selector of a review as the text that a request would have.
fn selector(value: &Value) -> String {
    let raw = object::text(value, &["rawSelector"]);
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let requirement = |r: &Value| {
        let (key, values) = (object::text(r, &["key"]), texts(&r["values"]));
        match (object::text(r, &["operator"]), values.as_slice()) {
            ("In", [one]) => format!("{key}={one}"),
            ("NotIn", [one]) => format!("{key}!={one}"),
            ("In", many) => format!("{key} in ({})", many.join(",")),
            ("NotIn", many) => format!("{key} notin ({})", many.join(",")),
            ("DoesNotExist", _) => format!("!{key}"),
            _ => key.to_owned(),
        }
    };
    value["requirements"].as_array().into_iter().flatten().map(requirement).collect::<Vec<_>>().join(",")
}

fn attributes(spec: &Value, user: UserInfo) -> Attributes {
    let resource = &spec["resourceAttributes"];
    let plain = &spec["nonResourceAttributes"];
    let text = |v: &Value, field: &str| object::text(v, &[field]).to_owned();
    if resource.is_object() {
        return Attributes {
            user,
            verb: text(resource, "verb"),
            namespace: text(resource, "namespace"),
            group: text(resource, "group"),
            version: text(resource, "version"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            name: text(resource, "name"),
            is_resource: true,
            field_selector: selector(&resource["fieldSelector"]),
            label_selector: selector(&resource["labelSelector"]),
            ..Attributes::default()
        };
    }
    Attributes { user, verb: text(plain, "verb"), path: text(plain, "path"), ..Attributes::default() }
}

/// What is wrong with the question itself.
fn check(request: &Request<'_>, review: &Value) -> Result<(), ApiError> {
    let spec = &review["spec"];
    let at = Path::new("spec");
    let mut errors = ErrorList::new();
    let (resource, plain) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() && plain.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid(&at.child("nonResourceAttributes"), plain, why));
    }
    if !resource.is_object() && !plain.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid(&at.child("resourceAttributes"), &Value::Null, why));
    }
    let local = &*request.kind.plural == "localsubjectaccessreviews";
    let others = &*request.kind.plural != "selfsubjectaccessreviews";
    if others && object::text(spec, &["user"]).is_empty() && texts(&spec["groups"]).is_empty() {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid_str(&at.child("user"), "", why));
    }
    for selector in ["fieldSelector", "labelSelector"] {
        let at = at.child("resourceAttributes").child(selector);
        check_selector(&resource[selector], &at, selector == "labelSelector", &mut errors);
    }
    let own = |field: &str| field == "managedFields" || local && field == "namespace";
    let meta = review["metadata"].as_object();
    if meta.is_some_and(|meta| meta.iter().any(|(field, value)| !own(field) && !value.is_null())) {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(FieldError::invalid(&Path::new("metadata"), &review["metadata"], why));
    }
    if local {
        let (given, wanted) = (object::text(resource, &["namespace"]), object::namespace(review));
        if resource.is_object() && given != wanted {
            let at = at.child("resourceAttributes").child("namespace");
            errors.push(FieldError::invalid_str(&at, given, "must match metadata.namespace"));
        }
        if plain.is_object() {
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid(&at.child("nonResourceAttributes"), plain, why));
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        // Stock has lost the kind's name where it says this.
        false => Err(crate::registry::invalid_as(request.kind, "", "", errors)),
    }
}

/// What is wrong with a selector of a review; operators may be newer than this server.
fn check_selector(selector: &Value, at: &Path, labels: bool, errors: &mut ErrorList) {
    let Some(given) = selector.as_object() else { return };
    let raw = object::text(selector, &["rawSelector"]);
    let requirements = given.get("requirements").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid_str(&at.child("rawSelector"), raw, why));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {at} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(&at.child("requirements"), why));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = at.child("requirements").index(index);
        let values = texts(&requirement["values"]);
        match object::text(requirement, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&at.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&at.child("values"), why));
            }
            _ => {}
        }
        let key = object::text(requirement, &["key"]);
        if !labels {
            if key.is_empty() {
                errors.push(FieldError::required(&at.child("key"), "must be specified"));
            }
            continue;
        }
        for why in names::qualified_name(key) {
            errors.push(FieldError::invalid_str(&at.child("key"), key, why));
        }
        for (index, value) in values.iter().enumerate() {
            for why in names::label_value(value) {
                errors.push(FieldError::invalid_str(&at.child("values").index(index), value, why));
            }
        }
    }
}

impl Inner {
    /// Answers a review; `None` when the kind is none.
    pub(crate) async fn review(
        &self,
        request: &Request<'_>,
        mut review: Value,
        warnings: Vec<String>,
    ) -> Result<Answer, ApiError> {
        let status = match &*request.kind.plural {
            "selfsubjectreviews" => json!({"userInfo": user_value(request.user)}),
            "tokenreviews" => self.token_review(&review["spec"]).await?,
            "selfsubjectrulesreviews" => {
                if object::text(&review["spec"], &["namespace"]).is_empty() {
                    return Err(ApiError::bad_request("no namespace on request"));
                }
                self.rules_review(request, &review["spec"]).await
            }
            "selfsubjectaccessreviews" => {
                check(request, &review)?;
                self.access_review(&review["spec"], request.user.clone()).await
            }
            "subjectaccessreviews" | "localsubjectaccessreviews" => {
                check(request, &review)?;
                let spec = &review["spec"];
                let user = UserInfo {
                    name: object::text(spec, &["user"]).to_owned(),
                    uid: object::text(spec, &["uid"]).to_owned(),
                    groups: texts(&spec["groups"]),
                    extra: extra(&spec["extra"]),
                };
                self.access_review(spec, user).await
            }
            _ => return Err(request.not_found()),
        };
        review["status"] = status;
        match &*request.kind.plural {
            // Stock answers with objects of its own.
            "selfsubjectreviews" => review["metadata"] = json!({"creationTimestamp": time::now()}),
            "selfsubjectrulesreviews" => {
                review["metadata"] = json!({});
                review["spec"] = json!({});
            }
            _ => {}
        }
        if review["metadata"].is_null() {
            review["metadata"] = json!({});
        }
        match &*request.kind.plural {
            "selfsubjectreviews" => review["metadata"]["creationTimestamp"] = ironclad_api::time::now().into(),
            // What was asked is not said again.
            "selfsubjectrulesreviews" => review["spec"] = json!({}),
            _ => {}
        }
        Ok(Answer { warnings, ..Answer::value(201, review) })
    }

    async fn access_review(&self, spec: &Value, user: UserInfo) -> Value {
        match self.authorizer.authorize(&attributes(spec, user)).await {
            Decision::Allow(reason) => decided(json!({"allowed": true}), reason),
            Decision::Deny(reason) => decided(json!({"allowed": false, "denied": true}), reason),
            Decision::NoOpinion(reason) => decided(json!({"allowed": false}), reason),
        }
    }

    async fn rules_review(&self, request: &Request<'_>, spec: &Value) -> Value {
        let rules = self.authorizer.rules(request.user, object::text(spec, &["namespace"])).await;
        let (paths, resources): (Vec<_>, Vec<_>) =
            rules.rules.into_iter().partition(|r| !r.non_resource_urls.is_empty());
        let resources: Vec<Value> = resources
            .into_iter()
            .map(|r| {
                let mut rule = json!({"verbs": r.verbs, "apiGroups": r.api_groups, "resources": r.resources});
                if !r.resource_names.is_empty() {
                    rule["resourceNames"] = json!(r.resource_names);
                }
                rule
            })
            .collect();
        let paths: Vec<Value> =
            paths.into_iter().map(|r| json!({"verbs": r.verbs, "nonResourceURLs": r.non_resource_urls})).collect();
        let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": rules.incomplete});
        if rules.incomplete {
            let who = if request.user.is_in("system:nodes") { "node" } else { "webhook" };
            status["evaluationError"] = json!(format!("{who} authorizer does not support user rule resolution"));
        }
        status
    }

    async fn token_review(&self, spec: &Value) -> Result<Value, ApiError> {
        let token = object::text(spec, &["token"]);
        if token.is_empty() {
            return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
        }
        Ok(match self.authenticator.review(token, &texts(&spec["audiences"])).await {
            Ok(Some(found)) => {
                json!({"authenticated": true, "user": user_value(&found.user), "audiences": found.audiences})
            }
            Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
            Err(error) if error.message == "Unauthorized" => json!({"user": {}, "error": "invalid bearer token"}),
            Err(error) => json!({"user": {}, "error": format!("[invalid bearer token, {}]", error.message)}),
        })
    }
}

/// A status with its reason, if there is one.
fn decided(mut status: Value, reason: String) -> Value {
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    status
}

/// What else is known of a user; keys are in lower case, as from everywhere else.
fn extra(value: &Value) -> BTreeMap<String, Vec<String>> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.to_lowercase().to_string(), texts(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_reviews_read_as_those_of_requests() {
        let of = |operator: &str, values: Value| {
            selector(&json!({"requirements": [{"key": "a", "operator": operator, "values": values}]}))
        };
        assert_eq!(of("In", json!(["x"])), "a=x");
        assert_eq!(of("NotIn", json!(["x", "y"])), "a notin (x,y)");
        assert_eq!(of("DoesNotExist", json!([])), "!a");
        assert_eq!(selector(&json!({"rawSelector": "a=b"})), "a=b");
        assert_eq!(selector(&Value::Null), "");
    }
}
