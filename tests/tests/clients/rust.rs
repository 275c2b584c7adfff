//! kube in a real cluster: streams into pods, evictions, rollouts, and a controller with all that its runtime has.

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, AttachParams, DeleteParams, EvictParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Config, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt, AsyncWriteExt, BufReader};

pub(crate) async fn play(kubeconfig: &Path, namespace: &str) {
    let config = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("a config");
    let client = Client::try_from(config).expect("a client");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    execute(&pods).await;
    attach(&pods).await;
    logs(&pods).await;
    forward(&pods).await;
    evict(&pods).await;
    scale(Api::namespaced(client.clone(), namespace)).await;
    control(client, namespace).await;
    println!("kube streams into pods and runs a controller");
}

async fn execute(pods: &Api<Pod>) {
    let params = AttachParams::default().container("talker").stdin(true).stdout(true).stderr(true);
    let mut process =
        pods.exec("web", ["sh", "-c", "read x; echo read $x; echo no >&2; exit 4"], &params).await.unwrap();
    let status = process.take_status().unwrap();
    process.stdin().unwrap().write_all(b"line\n").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    process.stderr().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((&*out, &*err), ("read line\n", "no\n"));
    let status = status.await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    assert_eq!(status.details.unwrap().causes.unwrap()[0].message.as_deref(), Some("4"));
    process.join().await.unwrap();
}

async fn attach(pods: &Api<Pod>) {
    let params = AttachParams::default().container("talker").stdin(true).stdout(true).stderr(false);
    let mut process = pods.attach("web", &params).await.unwrap();
    process.stdin().unwrap().write_all(b"rust\n").await.unwrap();
    let mut said = BufReader::new(process.stdout().unwrap()).lines();
    while said.next_line().await.unwrap().expect("an answer") != "got rust" {}
    process.abort();
}

async fn logs(pods: &Api<Pod>) {
    let params = LogParams { container: Some("talker".to_owned()), follow: true, ..LogParams::default() };
    let mut lines = pods.log_stream("web", &params).await.unwrap().lines();
    assert_eq!(lines.try_next().await.unwrap().as_deref(), Some("hello"));
    while lines.try_next().await.unwrap().expect("a line") != "got rust" {}
}

async fn forward(pods: &Api<Pod>) {
    let mut ports = pods.portforward("web", &[80]).await.unwrap();
    let mut web = ports.take_stream(80).unwrap();
    web.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    web.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Welcome to nginx"), "{answer}");
}

async fn evict(pods: &Api<Pod>) {
    let uid = pods.get("web").await.unwrap().uid().unwrap();
    let trial =
        EvictParams { post_options: PostParams { dry_run: true, ..PostParams::default() }, ..EvictParams::default() };
    pods.evict("web", &trial).await.unwrap();
    assert!(pods.get("web").await.unwrap().metadata.deletion_timestamp.is_none());
    pods.evict("web", &EvictParams::default()).await.unwrap();
    within(await_condition(pods.clone(), "web", conditions::is_deleted(&uid))).await.unwrap();
}

async fn scale(deployments: Api<Deployment>) {
    let spec = json!({"selector": {"matchLabels": {"app": "scaled"}}, "template": {"metadata": {"labels": {"app": "scaled"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": "nginx:1.27"}]}}});
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "scaled"}, "spec": spec});
    let me = PatchParams::apply("rust");
    deployments.patch("scaled", &me, &Patch::Apply(&config)).await.unwrap();
    within(await_condition(deployments.clone(), "scaled", conditions::is_deployment_completed())).await.unwrap();
    let mut scale = deployments.get_scale("scaled").await.unwrap();
    assert_eq!(scale.status.as_ref().unwrap().replicas, 1);
    scale.spec.as_mut().unwrap().replicas = Some(2);
    deployments.replace_scale("scaled", &PostParams::default(), &scale).await.unwrap();
    let both = |d: Option<&Deployment>| d.and_then(|d| d.status.as_ref()?.ready_replicas) == Some(2);
    within(await_condition(deployments, "scaled", both)).await.unwrap();
}

/// Something that a controller makes a ConfigMap of.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "rust.example.com", version = "v1", kind = "Page", namespaced, status = "PageStatus", shortname = "pg")]
#[kube(printcolumn = r#"{"name": "Ready", "type": "boolean", "jsonPath": ".status.ready"}"#)]
struct PageSpec {
    #[schemars(length(max = 20))]
    title: String,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
struct PageStatus {
    ready: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(#[from] kube::Error),
}

const FINALIZER: &str = "rust.example.com/page";

/// Keeps a page's ConfigMap as long as there is the page.
async fn reconcile(page: Arc<Page>, client: Arc<Client>) -> Result<Action, kube::runtime::finalizer::Error<Failure>> {
    let namespace = page.namespace().unwrap_or_default();
    let pages: Api<Page> = Api::namespaced((*client).clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    finalizer(&pages, FINALIZER, page, async |event| match event {
        Event::Apply(page) => {
            let mut map =
                ConfigMap { data: Some([("title".into(), page.spec.title.clone())].into()), ..ConfigMap::default() };
            map.metadata.name = page.metadata.name.clone();
            map.metadata.owner_references = page.controller_owner_ref(&()).map(|owner| vec![owner]);
            maps.patch(&page.name_any(), &PatchParams::apply("pages").force(), &Patch::Apply(&map)).await?;
            let status = Patch::Merge(json!({"status": PageStatus { ready: true }}));
            pages.patch_status(&page.name_any(), &PatchParams::default(), &status).await?;
            Ok(Action::await_change())
        }
        Event::Cleanup(page) => {
            maps.delete(&page.name_any(), &DeleteParams::default()).await?;
            Ok(Action::await_change())
        }
    })
    .await
}

async fn control(client: Client, namespace: &str) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Page::crd().name_any();
    let me = PatchParams::apply("rust");
    definitions.patch(&name, &me, &Patch::Apply(Page::crd())).await.unwrap();
    within(await_condition(definitions.clone(), &name, conditions::is_crd_established())).await.unwrap();

    let pages: Api<Page> = Api::namespaced(client.clone(), namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let controller = Controller::new(pages.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::new(client));
    let controller = tokio::spawn(controller.for_each(|_| std::future::ready(())));
    let (shown, writer) = reflector::store::<ConfigMap>();
    let config = watcher::Config::default().streaming_lists();
    let following = watcher(maps.clone(), config).default_backoff().reflect(writer).applied_objects();
    let following = tokio::spawn(following.for_each(|_| std::future::ready(())));
    within(shown.wait_until_ready()).await.unwrap();

    let long = Page::new("page", PageSpec { title: "x".repeat(21) });
    let refused = pages.create(&PostParams::default(), &long).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 422));
    let page = Page::new("page", PageSpec { title: "one".to_owned() });
    pages.create(&PostParams::default(), &page).await.unwrap();
    let ready = |page: Option<&Page>| page.is_some_and(|p| p.status.as_ref().is_some_and(|s| s.ready));
    within(await_condition(pages.clone(), "page", ready)).await.unwrap();
    // What somebody takes away the controller makes again.
    let uid = maps.get("page").await.unwrap().uid().unwrap();
    maps.delete("page", &DeleteParams::default()).await.unwrap();
    let again = |map: Option<&ConfigMap>| map.is_some_and(|m| m.uid().as_deref() != Some(&*uid));
    within(await_condition(maps.clone(), "page", again)).await.unwrap();
    let reference = reflector::ObjectRef::<ConfigMap>::new("page").within(namespace);
    let current = async {
        while shown.get(&reference).is_none_or(|map| map.uid().as_deref() == Some(&*uid)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(current).await;

    let uid = pages.get("page").await.unwrap().uid().unwrap();
    pages.delete("page", &DeleteParams::default()).await.unwrap();
    within(await_condition(pages, "page", conditions::is_deleted(&uid))).await.unwrap();
    assert!(maps.get_opt("page").await.unwrap().is_none(), "it was taken away before the page went");
    controller.abort();
    following.abort();
    definitions.delete(&name, &DeleteParams::default()).await.unwrap();
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it comes within a minute")
}
