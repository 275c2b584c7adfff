//! Nobody grants permissions that they do not hold: checks on roles and bindings (RBAC's privilege escalation rules).

use super::is;
use crate::{Mutate, Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Reason;
use ironclad_api::error::Result;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object, user};
use ironclad_auth::covers::escalation;
use ironclad_auth::{Attributes, Authorizer, Decision, ResourceRule, rules_of_role};
use ironclad_json::Value;
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) struct Escalation {
    source: Arc<dyn Source>,
    authorizer: Arc<dyn Authorizer>,
}

impl Escalation {
    pub(super) fn new(source: Arc<dyn Source>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { source, authorizer }
    }

    async fn may(&self, request: &Request, verb: &str, (group, resource): (&str, &str), name: &str) -> bool {
        let attributes = Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            namespace: request.namespace.clone(),
            group: group.into(),
            version: "*".into(),
            resource: resource.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        };
        matches!(self.authorizer.authorize(&attributes).await, Decision::Allow(_))
    }

    async fn holds(&self, request: &Request, wanted: &[ResourceRule]) -> Result<()> {
        let owned = self.authorizer.rules(&request.user, &request.namespace).await;
        match escalation(&request.user, &owned, wanted) {
            None => Ok(()),
            Some(why) => Err(ApiError::forbidden(&request.resource.group_resource(), &request.name, why)),
        }
    }

    async fn role(&self, request: &Request, role: &Value) -> Result<()> {
        let old = request.old.as_deref().unwrap_or(&Value::Null);
        if self.may(request, "escalate", (GROUP, &request.resource.resource), &request.name).await {
            return Ok(());
        }
        self.holds(request, &rules_of_role(role)).await?;
        let collects = |role: &Value| {
            role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|selectors| !selectors.is_empty())
        };
        if !collects(role) && !collects(old) {
            return Ok(());
        }
        // What it will collect is not known yet, so it takes everything.
        let star = || vec!["*".to_owned()];
        let resources =
            ResourceRule { verbs: star(), api_groups: star(), resources: star(), ..ResourceRule::default() };
        let paths = ResourceRule { verbs: star(), non_resource_urls: star(), ..ResourceRule::default() };
        let why = "must have cluster-admin privileges to use the aggregationRule";
        self.holds(request, &[resources, paths]).await.map_err(|_| request.forbidden(why))
    }

    async fn binding(&self, request: &Request, binding: &Value) -> Result<()> {
        let of = |field: &str| object::text(binding, &["roleRef", field]);
        let name = of("name");
        let (resource, namespace) = match of("kind") {
            "Role" => ("roles", request.namespace.as_str()),
            "ClusterRole" => ("clusterroles", ""),
            // Before the object itself is checked, so that nothing better is said.
            other => {
                return Err(ApiError::new(Reason::Unknown, format!("unsupported role reference kind: {other:?}")));
            }
        };
        if self.may(request, "bind", (of("apiGroup"), resource), name).await {
            return Ok(());
        }
        if resource == "roles" && namespace.is_empty() {
            return Err(ApiError::bad_request("Namespace parameter required."));
        }
        if name.is_empty() {
            return Err(ApiError::bad_request("Name parameter required."));
        }
        if let Some(why) = ironclad_api::names::path_segment(name).first() {
            return Err(ApiError::bad_request(format!("Name parameter invalid: {name:?}: {why}")));
        }
        let roles = GroupResource::new(GROUP, resource);
        let role = self
            .source
            .get(&roles, namespace, name)
            .ok_or_else(|| ApiError::not_found(&request.resource.group_resource(), name))?;
        self.holds(request, &rules_of_role(&role)).await
    }
}

/// An object without what lets the garbage collector do its work, which anybody may change who may change the object.
fn kept(object: &Value) -> Value {
    let mut kept = object.clone();
    if let Some(meta) = kept["metadata"].as_object_mut() {
        for field in ["ownerReferences", "finalizers", "selfLink", "managedFields"] {
            meta.remove(field);
        }
    }
    kept
}

impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Escalation {
    // The last of those that may change an object, and before the object itself is checked, as in stock's registries.
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if request.resource.group != GROUP || request.user.is_in(user::MASTERS) {
            return Ok(());
        }
        let Some(object) = request.object.clone() else { return Ok(()) };
        if request.old.as_deref().is_some_and(|old| kept(old) == kept(&object)) {
            return Ok(());
        }
        if is(request, GROUP, "roles") || is(request, GROUP, "clusterroles") {
            return self.role(request, &object).await;
        }
        if is(request, GROUP, "rolebindings") || is(request, GROUP, "clusterrolebindings") {
            return self.binding(request, &object).await;
        }
        Ok(())
    }
}
