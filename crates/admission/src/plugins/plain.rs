//! Plug-ins that look at nothing but the request: AlwaysAdmit, AlwaysDeny, AlwaysPullImages,
//! LimitPodHardAntiAffinityTopology and DenyServiceExternalIPs.

use super::is;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, FieldError, Path, object};
use ironclad_json::{Value, json};

const HOSTNAME: &str = "kubernetes.io/hostname";
/// The lists of containers of a pod.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Lets everything pass.
pub(super) struct AlwaysAdmit;

impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }
}

/// Refuses everything.
pub(super) struct AlwaysDeny;

impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for AlwaysDeny {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        self.validate(request).await
    }
}

#[async_trait]
impl Validate for AlwaysDeny {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let why = "admission control is denying all modifications";
        Err(request.forbidden(why))
    }
}

/// Lets nobody use an image on a node without showing that he may pull it.
pub(super) struct AlwaysPullImages;

fn images(pod: &Value) -> Vec<&str> {
    let containers = LISTS.iter().flat_map(|l| pod["spec"][*l].as_array().into_iter().flatten());
    containers.map(|c| object::text(c, &["image"])).collect()
}

/// Whether an update brings no image that the pod did not have.
fn same_images(request: &Request) -> bool {
    let (Some(new), Some(old)) = (&request.object, &request.old) else { return false };
    let old = images(old);
    request.operation == Operation::Update && images(new).iter().all(|image| old.contains(image))
}

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
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
impl Mutate for AlwaysPullImages {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !is(request, "", "pods") || same_images(request) {
            return Ok(());
        }
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        for list in LISTS {
            for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container["imagePullPolicy"] = json!("Always");
            }
        }
        for volume in pod["spec"].get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(image) = volume.get_mut("image").filter(|i| i.is_object()) {
                image["pullPolicy"] = json!("Always");
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Validate for AlwaysPullImages {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(pod) = request.object.as_ref().filter(|_| is(request, "", "pods") && !same_images(request)) else {
            return Ok(());
        };
        let mut wrong = Vec::new();
        let spec = Path::new("spec");
        let mut check = |policy: &Value, at: Path| {
            if policy != "Always" {
                wrong.push(FieldError::not_supported(&at, policy, &["Always"]));
            }
        };
        for list in LISTS {
            for (i, container) in pod["spec"][list].as_array().into_iter().flatten().enumerate() {
                check(&container["imagePullPolicy"], spec.child(list).index(i).child("imagePullPolicy"));
            }
        }
        for (i, volume) in pod["spec"]["volumes"].as_array().into_iter().flatten().enumerate() {
            if volume["image"].is_object() {
                check(
                    &volume["image"]["pullPolicy"],
                    spec.child("volumes").index(i).child("image").child("pullPolicy"),
                );
            }
        }
        match wrong.into_iter().next() {
            Some(first) => Err(request.forbidden(first)),
            None => Ok(()),
        }
    }
}

/// Lets pods keep others away from their own node only.
pub(super) struct HardAntiAffinity;

impl Plugin for HardAntiAffinity {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for HardAntiAffinity {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(pod) = request.object.as_ref().filter(|_| is(request, "", "pods")) else { return Ok(()) };
        let terms = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let keys = terms.as_array().into_iter().flatten().map(|t| object::text(t, &["topologyKey"]));
        match keys.into_iter().find(|key| *key != HOSTNAME) {
            None => Ok(()),
            Some(key) => {
                let why = format!(
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
                );
                Err(ApiError::forbidden(&request.resource.group_resource(), object::name(pod), why))
            }
        }
    }
}

/// Lets Services take no addresses that are not the cluster's.
pub(super) struct ExternalAddresses;

impl Plugin for ExternalAddresses {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for ExternalAddresses {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(service) = request.object.as_ref().filter(|_| is(request, "", "services")) else { return Ok(()) };
        let of = |o: &Value| o["spec"]["externalIPs"].as_array().cloned().unwrap_or_default();
        let old = request.old.as_deref().map(of).unwrap_or_default();
        // What is there already may stay.
        if of(service).iter().all(|ip| old.contains(ip)) {
            return Ok(());
        }
        let why = "Use of external IPs is denied by admission control";
        Err(request.forbidden(why))
    }
}
