//! Resources that come and go while the server runs.

mod support;

use futures::StreamExt;
use ironclad_api::GroupResource;
use ironclad_api::source::{Change, Source};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use std::sync::Arc;
use support::{JSON, ask, server};

/// The row of config maps under another name.
fn row() -> Arc<Kind> {
    let mut kind = (**ironclad_kinds::all().iter().find(|k| &*k.plural == "configmaps").unwrap()).clone();
    kind.group = "example.com".into();
    kind.plural = "widgets".into();
    kind.prefix = "/registry/example.com/widgets/".into();
    Arc::new(kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_served_and_discovered_as_soon_as_it_is_published() {
    let (server, _, _dir) = server().await;
    let widgets = GroupResource::new("example.com", "widgets");
    let path = "/apis/example.com/v1/widgets";
    assert_eq!(ask(&server, "GET", path, JSON, Value::Null).await.0, 404);
    server.publish(widgets.clone(), vec![row()]).await.unwrap();
    let (code, list) = ask(&server, "GET", path, JSON, Value::Null).await;
    assert_eq!((code, &list["items"]), (200, &json!([])));
    let (_, found) = ask(&server, "GET", "/apis/example.com/v1", JSON, Value::Null).await;
    assert_eq!(found["resources"][0]["name"], "widgets");
    let (_, groups) = ask(&server, "GET", "/apis", JSON, Value::Null).await;
    assert_eq!(groups["groups"].as_array().unwrap().last().unwrap()["name"], "example.com");
    server.publish(widgets, Vec::new()).await.unwrap();
    assert_eq!(ask(&server, "GET", path, JSON, Value::Null).await.0, 404);
    assert_eq!(ask(&server, "GET", "/apis/example.com/v1", JSON, Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_follows_a_resource_that_comes_later() {
    let (server, reader, _dir) = server().await;
    let widgets = GroupResource::new("example.com", "widgets");
    let mut changes = reader.subscribe(&widgets);
    assert!(matches!(changes.next().await, Some(Change::Synced)));
    for round in 0..2 {
        server.publish(widgets.clone(), vec![row()]).await.unwrap();
        let object = json!({"metadata": {"name": format!("a{round}"), "namespace": "default"}});
        server.ensure("example.com", "widgets", object).await.unwrap();
        for _ in 0..=round {
            assert!(matches!(changes.next().await, Some(Change::Put(_))));
        }
        server.publish(widgets.clone(), Vec::new()).await.unwrap();
    }
}
