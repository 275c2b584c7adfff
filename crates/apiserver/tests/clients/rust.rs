//! kube over TLS.

use super::Cluster;
use futures::{StreamExt, TryStreamExt};
use ironclad_json::json;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::metadata::PartialObjectMeta;
use kube::{Client, Config, Discovery, ResourceExt};

async fn client(cluster: &Cluster) -> Client {
    let config = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    assert_eq!(config.cluster_url.to_string().trim_end_matches('/'), cluster.url);
    Client::try_from(config).unwrap()
}

fn typed<T: serde::de::DeserializeOwned>(value: ironclad_json::Value) -> T {
    ironclad_json::from_value(value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_finds_what_it_expects() {
    let cluster = Cluster::start().await;
    let client = client(&cluster).await;
    assert_eq!(client.apiserver_version().await.unwrap().minor, "37");
    let namespace: Namespace = typed(json!({"metadata": {"name": "rust"}}));
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    workloads(Api::namespaced(client.clone(), "rust")).await;
    maps(Api::namespaced(client.clone(), "rust")).await;
    let discovery = Discovery::new(client).run_aggregated().await.unwrap();
    let apps = discovery.get("apps").unwrap();
    assert!(apps.recommended_resources().iter().any(|(resource, _)| resource.plural == "deployments"));
    cluster.end().await;
}

async fn workloads(api: Api<Deployment>) {
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx"}]}}});
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
    let me = PatchParams::apply("me");
    let made = api.patch("web", &me, &Patch::Apply(&config)).await.unwrap();
    let again = api.patch("web", &me, &Patch::Apply(&config)).await.unwrap();
    assert_eq!(made.resource_version(), again.resource_version());
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let scaled = api.patch_scale("web", &PatchParams::default(), &scale).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(3));
    let mut config = config;
    config["spec"]["replicas"] = json!(1);
    let error = api.patch("web", &PatchParams::apply("other"), &Patch::Apply(&config)).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409));
    let status = Patch::Merge(json!({"status": {"replicas": 3, "readyReplicas": 2}}));
    let shown = api.patch_status("web", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(shown.status.unwrap().ready_replicas, Some(2));
    let meta: PartialObjectMeta<Deployment> = api.get_metadata("web").await.unwrap();
    assert_eq!(meta.name_any(), "web");
}

async fn maps(api: Api<ConfigMap>) {
    for n in 0..7 {
        let map =
            typed(json!({"metadata": {"name": format!("m{n}"), "labels": {"n": "yes"}}, "data": {"n": n.to_string()}}));
        api.create(&PostParams::default(), &map).await.unwrap();
    }
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let params = ListParams { continue_token: token, ..ListParams::default().labels("n=yes").limit(3) };
        let page = api.list(&params).await.unwrap();
        token = page.metadata.continue_.clone().filter(|t| !t.is_empty());
        names.extend(page.iter().map(ResourceExt::name_any));
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names.len(), 7);
    let newest = api.list(&ListParams::default().limit(1)).await.unwrap().metadata.resource_version.unwrap();
    let mut events = api.watch(&WatchParams::default().labels("n=yes"), &newest).await.unwrap().boxed();
    api.delete("m3", &DeleteParams::default()).await.unwrap();
    let event = events.try_next().await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Deleted(map) if map.name_any() == "m3"));
}
