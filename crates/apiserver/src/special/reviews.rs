//! Reviews: questions in the form of objects, answered and not stored.

mod selectors;

use crate::registry::{Answer, Request};
use crate::server::Inner;
use ironclad_api::{ApiError, ErrorList, FieldError, Path, UserInfo, object, time};
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
            version: match object::text(resource, &["version"]) {
                "" => "*".to_owned(),
                version => version.to_owned(),
            },
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            name: text(resource, "name"),
            is_resource: true,
            field_selector: selectors::fields(&resource["fieldSelector"]).text,
            label_selector: selectors::labels(&resource["labelSelector"]).text,
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
        selectors::check(&resource[selector], &at, selector == "labelSelector", &mut errors);
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

impl Inner {
    /// Answers a review; `None` when the kind is none.
    pub(crate) async fn review(
        &self,
        request: &Request<'_>,
        mut review: Value,
        warnings: Vec<String>,
    ) -> Result<Answer, ApiError> {
        // Stock drops a namespace that a cluster-wide review has before anybody looks.
        if !request.kind.namespaced
            && let Some(meta) = review["metadata"].as_object_mut()
        {
            meta.remove("namespace");
        }
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
        let attributes = attributes(spec, user);
        let (decision, remarks) = ironclad_auth::remarks::scope(self.authorizer.authorize(&attributes)).await;
        let mut status = match decision {
            Decision::Allow(reason) => decided(json!({"allowed": true}), reason),
            Decision::Deny(reason) => decided(json!({"allowed": false, "denied": true}), reason),
            Decision::NoOpinion(reason) => decided(json!({"allowed": false}), reason),
        };
        let ignored = selectors::ignored(&spec["resourceAttributes"]);
        let mut errors = match remarks.failures.as_slice() {
            [] | [_] => remarks.failures,
            many => vec![format!("[{}]", many.join(", "))],
        };
        errors.extend(Some(ignored).filter(|i| !i.is_empty()));
        if !errors.is_empty() {
            status["evaluationError"] = json!(errors.join("; "));
        }
        status
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
        match rules.errors.as_slice() {
            [] => {}
            [one] => status["evaluationError"] = json!(one),
            many => status["evaluationError"] = json!(format!("[{}]", many.join(", "))),
        }
        status
    }

    async fn token_review(&self, spec: &Value) -> Result<Value, ApiError> {
        let token = object::text(spec, &["token"]);
        if token.is_empty() {
            return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
        }
        // As a request would bring it: spaces around it do not count.
        let header = format!("Bearer {token}");
        let Some(token) = ironclad_auth::bearer_token(&header) else { return Ok(json!({"user": {}})) };
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
