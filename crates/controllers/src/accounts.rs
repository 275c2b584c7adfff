//! What every namespace begins with: its `default` ServiceAccount and the cluster's certificate authority; and the
//! tokens of Secrets that ask for one.

use crate::{Context, is_conflict, is_missing};
use ironclad_client::{Change, WorkQueue};
use ironclad_json::json;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const ROOT_CA: &str = "kube-root-ca.crt";
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Namespace(String),
    Secret(String, String),
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<Key>> = WorkQueue::new();
    let namespaces = context.informers.get::<Namespace>();
    let accounts = context.informers.get::<ServiceAccount>();
    let maps = context.informers.get::<ConfigMap>();
    let secrets = context.informers.get::<Secret>();
    let add = queue.clone();
    namespaces.on_change(move |c| add.add(Key::Namespace(c.object().metadata.name.clone().unwrap_or_default())));
    secrets.add_index("account", |s: &Secret| token_of(s).into_iter().collect());
    let (add, tokens) = (queue.clone(), secrets.clone());
    accounts.on_change(move |c| {
        let meta = &c.object().metadata;
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        // Tokens may wait for an account that comes, and go with one that is deleted.
        if !matches!(c, Change::Modified { .. }) {
            for secret in tokens.by_index("account", &format!("{namespace}/{name}")) {
                add.add(Key::Secret(namespace.clone(), secret.metadata.name.clone().unwrap_or_default()));
            }
        }
        if matches!(c, Change::Deleted(_)) {
            add.add(Key::Namespace(namespace));
        }
    });
    let add = queue.clone();
    maps.on_change(move |c| {
        if c.object().metadata.name.as_deref() == Some(ROOT_CA) && !matches!(c, Change::Added(_)) {
            add.add(Key::Namespace(c.object().metadata.namespace.clone().unwrap_or_default()));
        }
    });
    let add = queue.clone();
    secrets.on_change(move |c| {
        let meta = &c.object().metadata;
        if c.object().type_.as_deref() == Some(TOKEN_TYPE) && !matches!(c, Change::Deleted(_)) {
            add.add(Key::Secret(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()));
        }
    });
    namespaces.synced().await;
    accounts.synced().await;
    maps.synced().await;
    secrets.synced().await;
    // Tokens are made by the controller manager itself, who holds their key.
    let (of_accounts, of_authority) = (context.of("service-account-controller"), context.of("root-ca-cert-publisher"));
    let work = move |key: Key| {
        let (of_accounts, of_authority) = (of_accounts.clone(), of_authority.clone());
        let (context, namespaces, accounts, maps, secrets) =
            (context.clone(), namespaces.clone(), accounts.clone(), maps.clone(), secrets.clone());
        async move {
            match key {
                Key::Namespace(name) => {
                    let live = namespaces.get("", &name).filter(|n| n.metadata.deletion_timestamp.is_none());
                    if live.is_none() {
                        return Ok(None);
                    }
                    if accounts.get(&name, "default").is_none() {
                        account(&of_accounts, &name).await?;
                    }
                    root_ca(&of_authority, &name, maps.get(&name, ROOT_CA).as_deref()).await?;
                }
                Key::Secret(namespace, name) => {
                    if let Some(secret) = secrets.get(&namespace, &name) {
                        let named = secret.metadata.annotations.as_ref().and_then(|a| a.get(ACCOUNT));
                        let account = named.and_then(|n| accounts.get(&namespace, n));
                        fill(&context, &secret, account.as_deref()).await?;
                    }
                }
            }
            Ok::<_, kube::Error>(None)
        }
    };
    queue.run("serviceaccount", 2, token, work).await;
}

/// Whose token a Secret is to hold, as `namespace/account`.
fn token_of(secret: &Secret) -> Option<String> {
    let account = secret.metadata.annotations.as_ref()?.get(ACCOUNT)?;
    let namespace = secret.metadata.namespace.as_deref()?;
    (secret.type_.as_deref() == Some(TOKEN_TYPE)).then(|| format!("{namespace}/{account}"))
}

async fn account(context: &Context, namespace: &str) -> Result<(), kube::Error> {
    let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
    let metadata = ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() };
    match api.create(&PostParams::default(), &ServiceAccount { metadata, ..ServiceAccount::default() }).await {
        Err(error) if !is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Makes the map, or gives the one that is there the right content: its publisher may create and update, no more.
async fn root_ca(context: &Context, namespace: &str, current: Option<&ConfigMap>) -> Result<(), kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    if let Some(current) = current {
        if current.data.as_ref().and_then(|data| data.get("ca.crt")) == Some(&context.root_ca) {
            return Ok(());
        }
        let mut wanted = current.clone();
        wanted.data = Some([("ca.crt".to_owned(), context.root_ca.clone())].into());
        return match api.replace(ROOT_CA, &PostParams::default(), &wanted).await {
            // The change that was in between comes by the informer.
            Err(error) if !is_conflict(&error) && !is_missing(&error) => Err(error),
            _ => Ok(()),
        };
    }
    let annotations = [("kubernetes.io/description".to_owned(), "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.".to_owned())];
    let metadata =
        ObjectMeta { name: Some(ROOT_CA.to_owned()), annotations: Some(annotations.into()), ..ObjectMeta::default() };
    let map = ConfigMap {
        metadata,
        data: Some([("ca.crt".to_owned(), context.root_ca.clone())].into()),
        ..ConfigMap::default()
    };
    match api.create(&PostParams::default(), &map).await {
        Err(error) if !is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Puts a token into a Secret, or removes the Secret when its account is gone.
async fn fill(context: &Context, secret: &Secret, account: Option<&ServiceAccount>) -> Result<(), kube::Error> {
    let (namespace, name) =
        (secret.metadata.namespace.clone().unwrap_or_default(), secret.metadata.name.clone().unwrap_or_default());
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let bound = secret.metadata.annotations.as_ref().and_then(|a| a.get(ACCOUNT_UID));
    let Some(account) = account else {
        if bound.is_some() {
            api.delete(&name, &kube::api::DeleteParams::default()).await?;
        }
        return Ok(());
    };
    if secret
        .data
        .as_ref()
        .is_some_and(|d| d.contains_key("token") && d.contains_key("ca.crt") && d.contains_key("namespace"))
    {
        return Ok(());
    }
    let (account_name, uid) =
        (account.metadata.name.clone().unwrap_or_default(), account.metadata.uid.clone().unwrap_or_default());
    let Some(token) = (context.tokens)(&namespace, &account_name, &uid, &name) else { return Ok(()) };
    let patch = json!({
        "metadata": {"annotations": {ACCOUNT_UID: uid}},
        "data": {"token": ByteString(token.into_bytes()), "namespace": ByteString(namespace.clone().into_bytes()),
            "ca.crt": ByteString(context.root_ca.clone().into_bytes())},
    });
    api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}
