//! Who may write which part of a ResourceClaim's status (KEP-4817): the allocation by a permission on
//! `resourceclaims/binding`, what is said of a driver's devices by one on `resourceclaims/driver` and the driver's name.

use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, FieldError, Path, UserInfo, object};
use ironclad_auth::{Attributes, Authorizer, Decision, forbidden};
use ironclad_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// On which node a token's pod runs.
const NODE: &str = "authentication.kubernetes.io/node-name";

pub(in crate::plugins) struct Claims {
    authorizer: Arc<dyn Authorizer>,
}

impl Claims {
    pub(in crate::plugins) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }

    /// What the authorizer has against it.
    async fn refused(&self, attributes: &Attributes) -> Option<ApiError> {
        match self.authorizer.authorize(attributes).await {
            Decision::Allow(_) => None,
            Decision::Deny(why) | Decision::NoOpinion(why) => Some(forbidden(attributes, &why)),
        }
    }

    async fn errors(&self, request: &Request, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let status = Path::new("status");
        let asked = Attributes {
            user: request.user.clone(),
            group: request.resource.group.clone(),
            version: request.resource.version.clone(),
            resource: request.resource.resource.clone(),
            is_resource: true,
            ..Attributes::default()
        };
        let verb = request.verb.as_str();
        if new["allocation"] != old["allocation"] || new["reservedFor"] != old["reservedFor"] {
            let binding = Attributes { verb: verb.into(), subresource: "binding".into(), ..asked.clone() };
            if let Some(error) = self.refused(&binding).await {
                errors.push(FieldError::forbidden(&status.child("allocation"), format!(
                    "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {error}"
                )));
            }
        }
        // Without an allocation nothing that is said of devices is kept.
        if new["allocation"].is_null() {
            return errors;
        }
        let verbs = verbs(verb, &request.user, new);
        for driver in changed(&new["devices"], &old["devices"]) {
            let mut first = None;
            for verb in &verbs {
                let driver = Attributes {
                    verb: verb.clone(),
                    subresource: "driver".into(),
                    namespace: request.namespace.clone(),
                    name: driver.clone(),
                    ..asked.clone()
                };
                match self.refused(&driver).await {
                    None => {
                        first = None;
                        break;
                    }
                    Some(error) => first = first.or(Some(error)),
                }
            }
            if let Some(error) = first {
                let verbs = verbs.join(" ");
                errors.push(FieldError::forbidden(&status.child("devices"), format!(
                    "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: {error}"
                )));
            }
        }
        errors
    }
}

/// The verbs of which one must be allowed: less is asked of who runs on the node to which the claim is bound.
fn verbs(verb: &str, user: &UserInfo, status: &Value) -> Vec<String> {
    let own = user.name.starts_with("system:serviceaccount:")
        && matches!(user.extra.get(NODE).map(Vec::as_slice), Some([node]) if Some(node.as_str()) == node_of(status));
    let prefixes: &[&str] = if own { &["associated-node:", "arbitrary-node:"] } else { &["arbitrary-node:"] };
    prefixes.iter().map(|prefix| format!("{prefix}{verb}")).collect()
}

/// The one node to which an allocation is bound.
fn node_of(status: &Value) -> Option<&str> {
    let [term] = status["allocation"]["nodeSelector"]["nodeSelectorTerms"].as_array()?.as_slice() else { return None };
    let [field] = term["matchFields"].as_array()?.as_slice() else { return None };
    let plain = term["matchExpressions"].as_array().is_none_or(|list| list.is_empty());
    let [node] = field["values"].as_array()?.as_slice() else { return None };
    node.as_str().filter(|_| plain && field["key"] == "metadata.name" && field["operator"] == "In")
}

/// The drivers of whose devices something else is said than before.
fn changed(new: &Value, old: &Value) -> BTreeSet<String> {
    let key = |d: &Value| ["driver", "pool", "device", "shareID"].map(|f| object::text(d, &[f]).to_owned());
    let all = |list: &Value| -> BTreeMap<[String; 4], Value> {
        list.as_array().into_iter().flatten().map(|d| (key(d), d.clone())).collect()
    };
    let (new, old) = (all(new), all(old));
    let other = |k: &&[String; 4]| new.get(*k) != old.get(*k);
    new.keys().chain(old.keys()).filter(other).map(|[driver, ..]| driver.clone()).collect()
}

impl Plugin for Claims {
    fn name(&self) -> &'static str {
        ""
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Claims {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let resource = &request.resource;
        if (resource.group.as_str(), resource.resource.as_str(), request.subresource.as_str())
            != ("resource.k8s.io", "resourceclaims", "status")
        {
            return Ok(());
        }
        let null = Value::Null;
        let (new, old) = (request.object.as_ref().unwrap_or(&null), request.old.as_deref().unwrap_or(&null));
        let errors = self.errors(request, &new["status"], &old["status"]).await;
        match errors.is_empty() {
            true => Ok(()),
            false => Err(ApiError::invalid(&request.kind.group, &request.kind.kind, &request.name, &errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn drivers_are_those_whose_devices_changed() {
        let device =
            |driver: &str, name: &str, n: i64| json!({"driver": driver, "pool": "p", "device": name, "data": n});
        let old = json!([device("a", "1", 1), device("b", "1", 1), device("c", "1", 1)]);
        let new = json!([device("a", "1", 1), device("b", "1", 2), device("d", "1", 1)]);
        assert_eq!(changed(&new, &old).into_iter().collect::<Vec<_>>(), ["b", "c", "d"]);
    }

    #[test]
    fn a_driver_on_the_claims_node_needs_less() {
        let bound = |node: &str| {
            json!({"allocation": {"nodeSelector": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}})
        };
        let mut user = UserInfo::new("system:serviceaccount:a:driver", &[]);
        assert_eq!(verbs("update", &user, &bound("n1")), ["arbitrary-node:update"]);
        user.extra.insert(NODE.to_owned(), vec!["n1".to_owned()]);
        assert_eq!(verbs("update", &user, &bound("n1")), ["associated-node:update", "arbitrary-node:update"]);
        assert_eq!(verbs("update", &user, &bound("n2")), ["arbitrary-node:update"]);
        assert_eq!(verbs("patch", &user, &json!({})), ["arbitrary-node:patch"]);
    }
}
