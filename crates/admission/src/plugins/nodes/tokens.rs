//! Tokens: a kubelet gets tokens of its pods' accounts, bound to those pods, for audiences that the pods speak to.

use super::{Checked, NodeRestriction, on, refuse};
use crate::{Operation, Request};
use ironclad_api::{GroupResource, object};
use ironclad_auth::{Attributes, Decision};
use ironclad_json::Value;
use std::sync::Arc;

impl NodeRestriction {
    pub(super) async fn accounts(&self, request: &Request, node: &str) -> Checked {
        if request.operation != Operation::Create || request.subresource != "token" {
            return Ok(());
        }
        let spec = request.object.as_ref().map_or(&Value::Null, |o| &o["spec"]);
        let bound = &spec["boundObjectRef"];
        let (name, uid) = (object::text(bound, &["name"]), object::text(bound, &["uid"]));
        if bound["apiVersion"] != "v1" || bound["kind"] != "Pod" || name.is_empty() {
            return refuse("node requested token not bound to a pod");
        }
        if uid.is_empty() {
            return refuse("node requested token with a pod binding without a uid");
        }
        let pod = self.find("pods", &request.namespace, name)?;
        if object::uid(&pod) != uid {
            return refuse(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ));
        }
        if !on(&pod, node) {
            return refuse("node requested token bound to a pod scheduled on a different node");
        }
        let audience = match spec["audiences"].as_array().map_or(&[][..], Vec::as_slice) {
            [] => "",
            [one] => one.as_str().unwrap_or_default(),
            _ => return refuse("node may only request 0 or 1 audiences"),
        };
        if self.speaks_to(&pod, audience)
            || self.may_ask_for(request, "", audience, "request-serviceaccounts-token-audience", &request.name).await
        {
            return Ok(());
        }
        let user = &request.user.name;
        refuse(format!(
            "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
        ))
    }

    /// Whether somebody has allowed nodes what no pod on them asks for.
    pub(super) async fn may_ask_for(
        &self,
        request: &Request,
        group: &str,
        what: &str,
        verb: &str,
        account: &str,
    ) -> bool {
        let attributes = Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            namespace: request.namespace.clone(),
            group: group.into(),
            version: "v1".into(),
            resource: what.into(),
            name: account.into(),
            is_resource: true,
            ..Attributes::default()
        };
        matches!(self.authorizer.authorize(&attributes).await, Decision::Allow(_))
    }

    /// Whether a volume of the pod holds tokens for this audience.
    fn speaks_to(&self, pod: &Value, audience: &str) -> bool {
        let volumes = pod["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
        volumes.iter().any(|volume| {
            let sources = volume["projected"]["sources"].as_array().map_or(&[][..], Vec::as_slice);
            let tokens = sources.iter().map(|s| &s["serviceAccountToken"]).filter(|t| t.is_object());
            tokens.into_iter().any(|t| object::text(t, &["audience"]) == audience)
                || self.driver(pod, volume).is_some_and(|driver| self.hands_out(&driver, audience))
        })
    }

    /// The CSI driver of a volume.
    fn driver(&self, pod: &Value, volume: &Value) -> Option<String> {
        if let Some(driver) = volume["csi"]["driver"].as_str() {
            return Some(driver.to_owned());
        }
        let claim = match volume["persistentVolumeClaim"]["claimName"].as_str() {
            Some(name) => name.to_owned(),
            None if volume["ephemeral"].is_object() => format!("{}-{}", object::name(pod), object::name_of(volume)),
            None => return None,
        };
        let get = |plural: &str, namespace: &str, name: &str| -> Option<Arc<Value>> {
            self.source.get(&GroupResource::new("", plural), namespace, name)
        };
        let claim = get("persistentvolumeclaims", object::namespace(pod), &claim)?;
        let volume = get("persistentvolumes", "", object::text(&claim, &["spec", "volumeName"]))?;
        volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)
    }

    fn hands_out(&self, driver: &str, audience: &str) -> bool {
        let driver = self.source.get(&GroupResource::new("storage.k8s.io", "csidrivers"), "", driver);
        let requests = driver.as_ref().and_then(|d| d["spec"]["tokenRequests"].as_array());
        requests.into_iter().flatten().any(|r| object::text(r, &["audience"]) == audience)
    }
}
