//! What signers give to the pods of this node: bundles of trust, and answers to requests for certificates.
//!
//! Invariant: each is followed by one watch of the node, begun when the first pod needs it; of requests the node sees
//! its own alone.

use ironclad_client::informer::Filter;
use ironclad_client::{Informer, Informers};
use k8s_openapi::api::certificates::v1::{ClusterTrustBundle, PodCertificateRequest};
use kube::Resource;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Notify;

/// Objects of a kind, and who is woken when they change.
struct Followed<K: 'static> {
    informer: Arc<Informer<K>>,
    wakes: Arc<Mutex<Vec<Weak<Notify>>>>,
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    fn new(informer: Arc<Informer<K>>) -> Self {
        let wakes: Arc<Mutex<Vec<Weak<Notify>>>> = Arc::default();
        let told = wakes.clone();
        informer.on_change(move |_| {
            told.lock().retain(|wake| match wake.upgrade() {
                Some(wake) => {
                    wake.notify_one();
                    true
                }
                None => false,
            });
        });
        Self { informer, wakes }
    }

    fn tell(&self, wake: &Arc<Notify>) {
        let mut wakes = self.wakes.lock();
        if !wakes.iter().any(|w| w.as_ptr() == Arc::as_ptr(wake)) {
            wakes.push(Arc::downgrade(wake));
        }
    }

    /// Everything that there is; `wake` is told of every change from now on.
    async fn known(&self, wake: &Arc<Notify>) -> &Informer<K> {
        self.tell(wake);
        self.informer.synced().await;
        &self.informer
    }
}

/// What signers have for one node.
pub(crate) struct Signers {
    informers: Informers,
    node: String,
    bundles: OnceLock<Followed<ClusterTrustBundle>>,
    requests: OnceLock<Followed<PodCertificateRequest>>,
}

impl Signers {
    pub(crate) fn new(informers: Informers, node: &str) -> Arc<Self> {
        let node = node.to_owned();
        Arc::new(Self { informers, node, bundles: OnceLock::new(), requests: OnceLock::new() })
    }

    pub(crate) async fn bundles(&self, wake: &Arc<Notify>) -> Vec<Arc<ClusterTrustBundle>> {
        let followed = self.bundles.get_or_init(|| Followed::new(self.informers.get()));
        followed.known(wake).await.list()
    }

    pub(crate) async fn request(
        &self,
        namespace: &str,
        name: &str,
        wake: &Arc<Notify>,
    ) -> Option<Arc<PodCertificateRequest>> {
        let followed = self.requests.get_or_init(|| {
            let filter = Filter { fields: format!("spec.nodeName={}", self.node), ..Filter::default() };
            Followed::new(self.informers.filtered(filter))
        });
        followed.known(wake).await.get(namespace, name)
    }
}
