//! Reviews: questions in the form of objects, answered and not stored.

use crate::registry::{Answer, Input, Request};
use crate::server::Inner;
use ironclad_api::{ApiError, UserInfo, object};
use ironclad_auth::{Attributes, Decision};
use serde_json::{Value, json};

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
            version: text(resource, "version"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            name: text(resource, "name"),
            is_resource: true,
            ..Attributes::default()
        };
    }
    Attributes { user, verb: text(plain, "verb"), path: text(plain, "path"), ..Attributes::default() }
}

impl Inner {
    /// Answers a review; `None` when the kind is none.
    pub(crate) async fn review(&self, request: &Request<'_>, input: Input) -> Result<Answer, ApiError> {
        let (mut review, warnings) = request.check(request.kind, input)?;
        let status = match &*request.kind.plural {
            "selfsubjectreviews" => json!({"userInfo": user_value(request.user)}),
            "tokenreviews" => self.token_review(&review["spec"]).await,
            "selfsubjectrulesreviews" => self.rules_review(request, &review["spec"]).await,
            "selfsubjectaccessreviews" => self.access_review(&review["spec"], request.user.clone()).await?,
            "subjectaccessreviews" | "localsubjectaccessreviews" => {
                let spec = &review["spec"];
                let extra = serde_json::from_value(spec["extra"].clone()).unwrap_or_default();
                let user = UserInfo {
                    name: object::text(spec, &["user"]).to_owned(),
                    uid: object::text(spec, &["uid"]).to_owned(),
                    groups: texts(&spec["groups"]),
                    extra,
                };
                if user.name.is_empty() && user.groups.is_empty() {
                    let path = ironclad_api::Path::new("spec").child("user");
                    let error = ironclad_api::FieldError::invalid_str(
                        &path,
                        "",
                        "at least one of user or group must be specified",
                    );
                    return Err(ApiError::invalid(&request.kind.group, &request.kind.kind, "", &[error]));
                }
                self.access_review(spec, user).await?
            }
            _ => return Err(request.not_found()),
        };
        review["status"] = status;
        if review["metadata"].is_null() {
            review["metadata"] = json!({});
        }
        Ok(Answer { warnings, ..Answer::value(201, review) })
    }

    async fn access_review(&self, spec: &Value, user: UserInfo) -> Result<Value, ApiError> {
        if spec["resourceAttributes"].is_object() == spec["nonResourceAttributes"].is_object() {
            return Err(ApiError::bad_request(
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
        Ok(match self.authorizer.authorize(&attributes(spec, user)).await {
            Decision::Allow(reason) => json!({"allowed": true, "reason": reason}),
            Decision::Deny(reason) => json!({"allowed": false, "denied": true, "reason": reason}),
            Decision::NoOpinion(reason) if reason.is_empty() => json!({"allowed": false}),
            Decision::NoOpinion(reason) => json!({"allowed": false, "reason": reason}),
        })
    }

    async fn rules_review(&self, request: &Request<'_>, spec: &Value) -> Value {
        let rules = self.authorizer.rules(request.user, object::text(spec, &["namespace"])).await;
        let (paths, resources): (Vec<_>, Vec<_>) =
            rules.rules.into_iter().partition(|r| !r.non_resource_urls.is_empty());
        let resources: Vec<Value> = resources
            .into_iter()
            .map(|r| json!({"verbs": r.verbs, "apiGroups": r.api_groups, "resources": r.resources, "resourceNames": r.resource_names}))
            .collect();
        let paths: Vec<Value> =
            paths.into_iter().map(|r| json!({"verbs": r.verbs, "nonResourceURLs": r.non_resource_urls})).collect();
        json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": rules.incomplete})
    }

    async fn token_review(&self, spec: &Value) -> Value {
        let token = object::text(spec, &["token"]);
        match self.authenticator.review(token, &texts(&spec["audiences"])).await {
            Ok(Some(found)) => {
                json!({"authenticated": true, "user": user_value(&found.user), "audiences": found.audiences})
            }
            Ok(None) => json!({"authenticated": false, "user": {}}),
            Err(error) => json!({"authenticated": false, "user": {}, "error": error.message}),
        }
    }
}
