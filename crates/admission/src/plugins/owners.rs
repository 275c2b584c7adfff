//! OwnerReferencesPermissionEnforcement: who names an owner must be allowed to delete the object, and to keep the owner
//! from being deleted where that is asked for. Off unless it is turned on.

use crate::world::World;
use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{GroupVersionKind, object};
use ironclad_auth::{Attributes, Authorizer, Decision};
use ironclad_json::Value;
use std::sync::Arc;

pub(super) struct Owners {
    authorizer: Arc<dyn Authorizer>,
    world: Arc<dyn World>,
}

impl Owners {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>, world: Arc<dyn World>) -> Self {
        Self { authorizer, world }
    }

    async fn may(&self, attributes: Attributes) -> std::result::Result<(), String> {
        match self.authorizer.authorize(&attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(reason),
        }
    }

    /// Whether the user may block the deletion of an owner: set its finalizers.
    async fn may_block(&self, request: &Request, owner: &Value) -> std::result::Result<(), String> {
        const REFUSED: &str =
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
        let kind = GroupVersionKind::parse(object::text(owner, &["apiVersion"]), object::text(owner, &["kind"]));
        let found = self.world.of_kind(&kind).ok_or_else(|| {
            let (version, name) = (object::text(owner, &["apiVersion"]), &kind.kind);
            format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind {name}: no matches for kind {name:?} in version {version:?}"
            )
        })?;
        self.may(Attributes {
            user: request.user.clone(),
            verb: "update".into(),
            namespace: if found.namespaced { request.namespace.clone() } else { String::new() },
            group: found.resource.group,
            version: found.resource.version,
            resource: found.resource.resource,
            subresource: "finalizers".into(),
            name: object::text(owner, &["name"]).to_owned(),
            is_resource: true,
            ..Attributes::default()
        })
        .await
        .map_err(|reason| format!("{REFUSED}: {reason}, <nil>"))
    }
}

fn owners(object: Option<&Value>) -> &[Value] {
    object.and_then(|o| o["metadata"]["ownerReferences"].as_array()).map_or(&[], Vec::as_slice)
}

impl Plugin for Owners {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Owners {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let (new, old) = (owners(request.object.as_ref()), owners(request.old.as_deref()));
        if new == old || !request.subresource.is_empty() {
            return Ok(());
        }
        let refuse = |why: String| Err(request.forbidden(why));
        let creating = request.operation == Operation::Create;
        let deletion = Attributes {
            user: request.user.clone(),
            verb: "delete".into(),
            namespace: request.namespace.clone(),
            group: request.resource.group.clone(),
            version: request.resource.version.clone(),
            resource: request.resource.resource.clone(),
            name: request.name.clone(),
            is_resource: true,
            ..Attributes::default()
        };
        // Who creates an object gives away nothing that is somebody else's.
        if !creating && let Err(reason) = self.may(deletion).await {
            return refuse(format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>"));
        }
        let blocks = |o: &&Value| o["blockOwnerDeletion"] == true;
        for owner in new.iter().filter(blocks).filter(|o| !old.iter().filter(blocks).any(|p| p["uid"] == o["uid"])) {
            if let Err(why) = self.may_block(request, owner).await {
                return refuse(why);
            }
        }
        Ok(())
    }
}
