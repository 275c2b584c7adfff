//! The objects that are written: a ConfigMap of 1 KB, pods as a Deployment makes them, a pod of 10 KB.

use super::Result;
use super::client::{Connection, JSON, Server};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// A ConfigMap whose JSON has about 1 KB.
pub(crate) fn map(name: &str) -> Bytes {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"value": "x".repeat(900)}})
        .to_string()
        .into()
}

/// A pod as a Deployment makes it; with what the server adds it has about 1.7 KB.
pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "labels": {"app": "web"},
        },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false,
            "containers": [{
                "name": "web", "image": "registry.example/web:1.27.3", "ports": [{"containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m"}},
            }],
        },
    })
}

/// A pod of about 10 KB: five containers with much environment.
pub(crate) fn large_pod(name: &str) -> Value {
    let containers: Vec<Value> = (0..5)
        .map(|c| {
            let env: Vec<Value> = (0..10)
                .map(|e| json!({"name": format!("SETTING_{c}_{e}"), "value": format!("the value of setting {e}")}))
                .collect();
            json!({"name": format!("c{c}"), "image": "registry.example/web:1.27.3", "env": env,
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}})
        })
        .collect();
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": containers}})
}

/// Makes the service account that admission asks of a namespace before it lets pods in.
pub(crate) async fn account(connection: &mut Connection) -> Result<()> {
    let account = json!({"metadata": {"name": "default"}}).to_string().into();
    connection.ask(Method::POST, "/api/v1/namespaces/default/serviceaccounts", JSON, account).await.map(drop)
}

/// Makes so many objects with many clients.
pub(crate) async fn fill(server: &Server, path: &'static str, count: usize, object: fn(usize) -> Bytes) -> Result<()> {
    const CLIENTS: usize = 32;
    let mut tasks = Vec::new();
    for first in 0..CLIENTS {
        let mut connection = server.connect().await?;
        tasks.push(tokio::spawn(async move {
            for n in (first..count).step_by(CLIENTS) {
                connection.ask(Method::POST, path, JSON, object(n)).await?;
            }
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}
