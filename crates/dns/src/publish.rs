//! The `kube-dns` Service and its EndpointSlice, which lead pods here through the service proxy.
//!
//! Invariant: whoever deletes or changes them gets them back; woken by changes of the two, never by time alone, except
//! to try again after a failure.

use ironclad_client::Informers;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
const AGAIN: Duration = Duration::from_secs(1);

/// Where the server is.
pub(crate) struct Place {
    pub(crate) dns: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) cluster_ip: IpAddr,
    pub(crate) node_name: String,
}

fn service(place: &Place) -> Value {
    let mut ports = vec![
        json!({"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}),
        json!({"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}),
    ];
    if place.metrics.is_some() {
        ports.push(json!({"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153}));
    }
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"k8s-app": NAME,
            "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
        "spec": {"clusterIP": place.cluster_ip.to_string(), "clusterIPs": [place.cluster_ip.to_string()], "ports": ports}})
}

fn slice_name(place: &Place) -> String {
    format!("{NAME}-{}", place.node_name)
}

fn slice(place: &Place) -> Value {
    let mut ports = vec![
        json!({"name": "dns", "port": place.dns.port(), "protocol": "UDP"}),
        json!({"name": "dns-tcp", "port": place.dns.port(), "protocol": "TCP"}),
    ];
    if let Some(metrics) = place.metrics {
        ports.push(json!({"name": "metrics", "port": metrics.port(), "protocol": "TCP"}));
    }
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": slice_name(place), "namespace": NAMESPACE, "labels": {
            "k8s-app": NAME, "kubernetes.io/service-name": NAME,
            "endpointslice.kubernetes.io/managed-by": "ironclad-dns"}},
        "addressType": if place.dns.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [place.dns.ip().to_string()], "nodeName": place.node_name,
            "conditions": {"ready": true, "serving": true, "terminating": false}}],
        "ports": ports})
}

/// Whether everything wanted is in what is there; lists must be as long and agree item by item.
fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(t), Value::Object(w)) => w.iter().all(|(k, v)| t.get(k).is_some_and(|t| covers(t, v))),
        (Value::Array(t), Value::Array(w)) => t.len() == w.len() && t.iter().zip(w).all(|(t, w)| covers(t, w)),
        (t, w) => t == w,
    }
}

async fn put<K>(api: &Api<K>, name: &str, there: Option<Arc<K>>, wanted: &Value) -> kube::Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let current = match there {
        Some(object) => serde_json::to_value(object.as_ref()).map_err(kube::Error::SerdeError)?,
        None => Value::Null,
    };
    let parts = |v: &Value| {
        let mut v = v.clone();
        if let Some(v) = v.as_object_mut() {
            v.remove("apiVersion");
            v.remove("kind");
        }
        v
    };
    if covers(&current, &parts(wanted)) {
        return Ok(());
    }
    if current.is_null() {
        let object: K = serde_json::from_value(wanted.clone()).map_err(kube::Error::SerdeError)?;
        match api.create(&Default::default(), &object).await {
            // Left by an earlier start and not seen yet: what follows brings it up to date.
            Err(kube::Error::Api(status)) if status.code == 409 => (),
            other => return other.map(|_| ()),
        }
    }
    api.patch(name, &PatchParams::default(), &Patch::Merge(wanted)).await.map(|_| ())
}

/// Keeps both objects there; tells `ready` when they first are.
pub(crate) async fn run(informers: Informers, place: Place, ready: &Notify, token: CancellationToken) {
    let (services, slices) = (informers.get::<Service>(), informers.get::<EndpointSlice>());
    let wake = Arc::new(Notify::new());
    let (on_service, on_slice, own) = (wake.clone(), wake.clone(), slice_name(&place));
    services.on_change(move |c| {
        let meta = &c.object().metadata;
        if meta.name.as_deref() == Some(NAME) && meta.namespace.as_deref() == Some(NAMESPACE) {
            on_service.notify_one();
        }
    });
    slices.on_change(move |c| {
        if c.object().metadata.name.as_deref() == Some(&own) {
            on_slice.notify_one();
        }
    });
    tokio::select! {
        () = token.cancelled() => return,
        () = async { tokio::join!(services.synced(), slices.synced()); } => (),
    }
    let client = informers.client().clone();
    let (api, slice_api) = (Api::namespaced(client.clone(), NAMESPACE), Api::namespaced(client, NAMESPACE));
    let (service, slice) = (service(&place), slice(&place));
    loop {
        let done = async {
            put(&api, NAME, services.get(NAMESPACE, NAME), &service).await?;
            let name = slice_name(&place);
            put(&slice_api, &name, slices.get(NAMESPACE, &name), &slice).await
        };
        let failed = match done.await {
            Ok(()) => {
                ready.notify_one();
                false
            }
            Err(error) => {
                tracing::warn!(%error, "cannot publish the kube-dns Service");
                true
            }
        };
        tokio::select! {
            () = token.cancelled() => return,
            () = wake.notified() => (),
            () = tokio::time::sleep(AGAIN), if failed => (),
        }
    }
}
