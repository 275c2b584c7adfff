//! Nobody grants permissions that they do not hold: checks on roles and bindings (RBAC's privilege escalation rules).

use super::is;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
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

    async fn may(&self, request: &Request, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            namespace: request.namespace.clone(),
            group: GROUP.into(),
            version: "v1".into(),
            resource: resource.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        };
        matches!(self.authorizer.authorize(&attributes).await, Decision::Allow(_))
    }

    async fn holds(&self, request: &Request, wanted: &[ResourceRule]) -> Result<()> {
        let owned = self.authorizer.rules(&request.user, &request.namespace).await.rules;
        match escalation(&request.user, &owned, wanted) {
            None => Ok(()),
            Some(why) => Err(ApiError::forbidden(&request.resource.group_resource(), &request.name, why)),
        }
    }

    async fn role(&self, request: &Request, role: &Value) -> Result<()> {
        let old = request.old.as_deref().unwrap_or(&Value::Null);
        if !old.is_null() && old["rules"] == role["rules"] && old["aggregationRule"] == role["aggregationRule"] {
            return Ok(());
        }
        if self.may(request, "escalate", &request.resource.resource, &request.name).await {
            return Ok(());
        }
        self.holds(request, &rules_of_role(role)).await?;
        if role["aggregationRule"].is_null() && old["aggregationRule"].is_null() {
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
        let old = request.old.as_deref().unwrap_or(&Value::Null);
        if !old.is_null() && old["roleRef"] == binding["roleRef"] && old["subjects"] == binding["subjects"] {
            return Ok(());
        }
        let name = object::text(binding, &["roleRef", "name"]);
        let (resource, namespace) = match object::text(binding, &["roleRef", "kind"]) {
            "Role" => ("roles", request.namespace.as_str()),
            _ => ("clusterroles", ""),
        };
        if self.may(request, "bind", resource, name).await {
            return Ok(());
        }
        let roles = GroupResource::new(GROUP, resource);
        let role = self
            .source
            .get(&roles, namespace, name)
            .ok_or_else(|| ApiError::not_found(&request.resource.group_resource(), name))?;
        self.holds(request, &rules_of_role(&role)).await
    }
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

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Escalation {
    // Before the object itself is looked at, as stock does; and again, since others may have changed it.
    async fn admit(&self, request: &mut Request) -> Result<()> {
        self.validate(request).await
    }
}

#[async_trait]
impl Validate for Escalation {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        if request.resource.group != GROUP || request.user.is_in(user::MASTERS) {
            return Ok(());
        }
        let Some(object) = request.object.clone() else { return Ok(()) };
        if is(request, GROUP, "roles") || is(request, GROUP, "clusterroles") {
            return self.role(request, &object).await;
        }
        if is(request, GROUP, "rolebindings") || is(request, GROUP, "clusterrolebindings") {
            return self.binding(request, &object).await;
        }
        Ok(())
    }
}
