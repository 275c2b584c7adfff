//! Who makes a policy or a binding with parameters must be allowed to read those parameters: a policy shows them.

use crate::expressions::Judges;
use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, FieldError, GroupResource, GroupVersionKind, Path, object};
use ironclad_auth::{Attributes, Decision};
use ironclad_json::Value;

/// Checks the writers of policies and bindings.
pub(crate) struct Grants {
    judges: Judges,
}

impl Grants {
    pub(crate) fn new(judges: Judges) -> Self {
        Self { judges }
    }

    /// Whether the user may get the parameters of a kind; all of them where no name is given.
    async fn may_read(&self, request: &Request, kind: &Value, namespace: &str, name: &str) -> bool {
        let kind = GroupVersionKind::parse(object::text(kind, &["apiVersion"]), object::text(kind, &["kind"]));
        // A kind that is not served yet is judged as the whole group.
        let (resource, namespaced) = match self.judges.world.of_kind(&kind) {
            Some(version) => (version.resource.resource, version.namespaced),
            None => ("*".to_owned(), true),
        };
        let attributes = Attributes {
            user: request.user.clone(),
            verb: "get".into(),
            namespace: if namespaced { namespace.to_owned() } else { String::new() },
            group: kind.group,
            version: kind.version,
            resource,
            name: if name.is_empty() { "*".into() } else { name.into() },
            is_resource: true,
            ..Attributes::default()
        };
        matches!(self.judges.authorizer.authorize(&attributes).await, Decision::Allow(_))
    }

    async fn policy(&self, request: &Request, new: &Value) -> Option<FieldError> {
        let kind = &new["spec"]["paramKind"];
        let same = request.old.as_deref().is_some_and(|old| old["spec"]["paramKind"] == *kind);
        if kind.is_null() || same || self.may_read(request, kind, "", "").await {
            return None;
        }
        let (kind, version) = (object::text(kind, &["kind"]), object::text(kind, &["apiVersion"]));
        let why = format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={kind}, apiVersion={version})",
            request.user.name
        );
        Some(FieldError::forbidden(&Path::new("spec").child("paramKind"), why))
    }

    async fn binding(&self, request: &Request, new: &Value, policies: &str) -> Option<FieldError> {
        let reference = &new["spec"]["paramRef"];
        let same = request.old.as_deref().is_some_and(|old| old["spec"]["paramRef"] == *reference);
        if reference.is_null() || same {
            return None;
        }
        let policies = GroupResource::new(super::GROUP, policies);
        let policy = self.judges.source.get(&policies, "", object::text(new, &["spec", "policyName"]))?;
        let kind = &policy["spec"]["paramKind"];
        let (namespace, name) = (object::text(reference, &["namespace"]), object::text(reference, &["name"]));
        if kind.is_null() || self.may_read(request, kind, namespace, name).await {
            return None;
        }
        let why =
            format!("user {} does not have \"get\" permission on the object referenced by paramRef", request.user.name);
        Some(FieldError::forbidden(&Path::new("spec").child("paramRef"), why))
    }
}

impl Plugin for Grants {
    fn name(&self) -> &'static str {
        "AdmissionPolicyParams"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Grants {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        if request.resource.group != super::GROUP || !request.subresource.is_empty() {
            return Ok(());
        }
        let Some(new) = &request.object else { return Ok(()) };
        let refused = match request.resource.resource.as_str() {
            "validatingadmissionpolicies" | "mutatingadmissionpolicies" => self.policy(request, new).await,
            "validatingadmissionpolicybindings" => self.binding(request, new, "validatingadmissionpolicies").await,
            "mutatingadmissionpolicybindings" => self.binding(request, new, "mutatingadmissionpolicies").await,
            _ => None,
        };
        refused.map_or(Ok(()), |why| Err(ApiError::invalid(super::GROUP, &request.kind.kind, &request.name, &[why])))
    }
}
