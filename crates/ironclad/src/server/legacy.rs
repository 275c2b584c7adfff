//! When tokens of Secrets were used last, as a label of the Secret: those that nobody uses can be found and removed.

use ironclad_auth::tokens::Used;
use ironclad_client::Client;
use ironclad_json::{Value, json};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, channel};

const LABEL: &str = "kubernetes.io/legacy-token-last-used";
/// Secrets that wait for their label; more are labelled at their next use.
const WAITING: usize = 256;

/// Namespace and name of a Secret.
pub(crate) type Name = (String, String);

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// What the check of tokens calls, and where it is heard.
pub(crate) fn hook() -> (Used, Receiver<Name>) {
    let (sender, receiver) = channel(WAITING);
    let used = move |namespace: &str, name: &str, secret: &Value| {
        if secret["metadata"]["labels"][LABEL] != today() {
            // A full queue means that others are labelled now; this one comes again.
            let _ = sender.try_send((namespace.to_owned(), name.to_owned()));
        }
    };
    (Arc::new(used), receiver)
}

/// Labels Secrets until nobody checks tokens any more.
pub(crate) async fn run(client: Client, mut names: Receiver<Name>) {
    let mut last = None;
    while let Some(name) = names.recv().await {
        let key = (name.clone(), today());
        // Many requests with one token arrive before its label is seen.
        if last.as_ref() == Some(&key) {
            continue;
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), &name.0);
        let patch = Patch::Merge(json!({"metadata": {"labels": {LABEL: key.1}}}));
        if let Err(error) = api.patch(&name.1, &PatchParams::default(), &patch).await {
            tracing::warn!(%error, namespace = name.0, name = name.1, "cannot note the use of a token");
            continue;
        }
        last = Some(key);
    }
}
