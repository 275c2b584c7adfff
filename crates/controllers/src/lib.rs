//! The controllers, one file each: a pure decision of what to do next, and a thin loop that does it.
//!
//! Invariants: a controller looks at what is, not at what happened, so that a missed event changes nothing; it changes
//! only what differs; what it cannot do it tries again after a back-off.

mod accounts;
mod aggregation;
mod bootstrap;
mod bundles;
pub mod certificates;
mod claim;
mod deployment;
pub mod election;
mod endpoints;
mod eviction;
mod garbage;
mod legacy_tokens;
mod mirroring;
mod namespaces;
mod nodes;
mod podgc;
mod policies;
mod protection;
mod quota;
mod ranges;
mod replicaset;
mod resources;
mod selection;
mod slices;

use ipnet::Ipv4Net;
use ironclad_client::events::Recorder;
use ironclad_client::{Client, Informers};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
pub use selection::Selection;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Makes the token of a Secret of type `kubernetes.io/service-account-token`: namespace, account, its uid, secret.
pub type SecretTokens = Arc<dyn Fn(&str, &str, &str, &str) -> Option<String> + Send + Sync>;

/// The API server as a controller of this name: the service account of kube-system that is called so.
pub type Identities = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What controllers need.
#[derive(Clone)]
pub struct Context {
    /// The API server, as `system:kube-controller-manager` or, for one of them, as that controller.
    pub client: Client,
    /// What makes of this a context of one controller.
    pub identities: Identities,
    /// Shared informers.
    pub informers: Informers,
    /// The cluster's certificate authority, as PEM, for `kube-root-ca.crt`.
    pub root_ca: String,
    /// Makes tokens of Secrets.
    pub tokens: SecretTokens,
    /// Signs certificates.
    pub authority: Arc<dyn certificates::Authority>,
    /// Addresses of pods, of which every node gets a part.
    pub pod_cidr: Ipv4Net,
    /// Whether nodes get such parts here, not from somebody else.
    pub allocate_node_cidrs: bool,
    /// How much of them: the prefix length of a node's part.
    pub node_prefix: u8,
    /// The longest life of certificates that are signed.
    pub signing_duration: Duration,
    /// How long unused tokens of Secrets stay that the cluster once made by itself.
    pub token_clean_up_period: Duration,
    /// Which controllers run.
    pub selection: Selection,
}

impl Context {
    /// The same, as the controller of this name: it may do what its own role allows and no more.
    fn of(&self, controller: &str) -> Self {
        Self { client: (self.identities)(controller), ..self.clone() }
    }

    fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(self.client.clone(), component, "")
    }
}

/// Runs the controllers that were chosen until `token` is cancelled.
pub async fn run(context: Context, token: CancellationToken) {
    let mut tasks = Tasks { all: JoinSet::new(), selection: context.selection.clone() };
    let (c, t) = (|| context.clone(), || token.clone());
    let resources = resources::Resources::new(c());
    tasks.spawn("serviceaccount-controller", accounts::run(c(), t()));
    tasks.spawn(
        "clusterrole-aggregation-controller",
        aggregation::run(context.of("clusterrole-aggregation-controller"), t()),
    );
    tasks.spawn("bootstrap-signer-controller", bootstrap::run(c(), t()));
    tasks.spawn(
        "certificatesigningrequest-signing-controller",
        certificates::run(context.of("certificate-controller"), t()),
    );
    let publisher = context.of("kube-apiserver-serving-clustertrustbundle-publisher");
    tasks.spawn("kube-apiserver-serving-clustertrustbundle-publisher-controller", bundles::publish(publisher, t()));
    let cleaner = context.of("podcertificaterequestcleaner");
    tasks.spawn("podcertificaterequest-cleaner-controller", bundles::clean(cleaner, t()));
    tasks.spawn("deployment-controller", deployment::run(context.of("deployment-controller"), t()));
    tasks.spawn("endpointslice-controller", endpoints::run(c(), t()));
    tasks.spawn("taint-eviction-controller", eviction::run(context.of("node-controller"), t()));
    tasks.spawn(
        "garbage-collector-controller",
        garbage::run(context.of("generic-garbage-collector"), resources.clone(), t()),
    );
    tasks.spawn(
        "legacy-serviceaccount-token-cleaner-controller",
        legacy_tokens::run(context.of("legacy-service-account-token-cleaner"), t()),
    );
    tasks.spawn(
        "endpointslice-mirroring-controller",
        mirroring::run(context.of("endpointslicemirroring-controller"), t()),
    );
    tasks.spawn("namespace-controller", namespaces::run(context.of("namespace-controller"), resources.clone(), t()));
    tasks.spawn("node-lifecycle-controller", nodes::run(context.of("node-controller"), t()));
    tasks.spawn("pod-garbage-collector-controller", podgc::run(context.of("pod-garbage-collector"), t()));
    tasks.spawn(
        "validatingadmissionpolicy-status-controller",
        policies::run(context.of("validatingadmissionpolicy-status-controller"), t()),
    );
    tasks.spawn("persistentvolume-protection-controller", protection::run(c(), t()));
    tasks.spawn("resourcequota-controller", quota::run(context.of("resourcequota-controller"), t()));
    tasks.spawn("service-cidr-controller", ranges::run(context.of("service-cidrs-controller"), t()));
    tasks.spawn("replicaset-controller", replicaset::run::<ReplicaSet>(context.of("replicaset-controller"), t()));
    tasks.spawn(
        "replicationcontroller-controller",
        replicaset::run::<ReplicationController>(context.of("replication-controller"), t()),
    );
    tasks.all.spawn(resources.run(t()));
    while let Some(ended) = tasks.all.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a controller failed");
        }
    }
}

struct Tasks {
    all: JoinSet<()>,
    selection: Selection,
}

impl Tasks {
    fn spawn(&mut self, name: &str, controller: impl Future<Output = ()> + Send + 'static) {
        if self.selection.has(name) {
            self.all.spawn(controller);
        }
    }
}

/// The reference of an object that manages what it is put into.
fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))
}

/// A reference that makes `owner` the controller of another object.
fn own<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether an answer says that the object is not there.
fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an answer says that somebody else was faster, or made it already.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}
