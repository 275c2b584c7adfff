//! Every form in which objects travel: JSON, YAML, protobuf, tables, metadata alone, compressed.

mod support;

use http_body_util::BodyExt;
use ironclad_apiserver::ApiServer;
use ironclad_json::{Value, json};
use ironclad_schema::{bundle, proto};
use std::io::Read;
use support::{JSON, ask, bytes, quiet, server, with};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PARTIAL: &str = "as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

async fn get(server: &ApiServer, path: &str, accept: &str) -> (u16, String, Vec<u8>) {
    let response = with(server, "GET", path, &[("accept", accept)], "").await;
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (response.status().as_u16(), kind, bytes(response).await.to_vec())
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn decoded(bytes: &[u8]) -> Value {
    proto::decode(bundle(), bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_goes_in_and_out() {
    // What the server writes by itself would come between the two lists, and show in their versions.
    let (server, _, _dir) = quiet().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let body = proto::encode(bundle(), &map).unwrap().unwrap();
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let response = with(&server, "POST", MAPS, &headers, body).await;
    assert_eq!((response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()), (201, PROTOBUF));
    let made = decoded(&bytes(response).await);
    assert_eq!(made["data"], json!({"k": "v"}));
    let one = format!("{MAPS}/a");
    let (_, plain) = ask(&server, "GET", &one, JSON, Value::Null).await;
    assert_eq!(made, plain);
    let (code, kind, got) = get(&server, &one, &format!("{PROTOBUF},application/json")).await;
    assert_eq!((code, &*kind, decoded(&got)), (200, PROTOBUF, plain));
    let (code, _, list) = get(&server, MAPS, PROTOBUF).await;
    let (code_plain, mut plain) = ask(&server, "GET", MAPS, JSON, Value::Null).await;
    assert_eq!((code, code_plain), (200, 200), "{plain}");
    // In this form the items of a list do not say again what they are.
    let item = plain["items"][0].as_object_mut().unwrap();
    item.retain(|k, _| k != "kind" && k != "apiVersion");
    assert_eq!(decoded(&list), plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_options_are_protobuf_too() {
    let (server, ..) = server().await;
    let (code, kind, error) = get(&server, &format!("{MAPS}/none"), PROTOBUF).await;
    assert_eq!((code, &*kind), (404, PROTOBUF));
    let error = decoded(&error);
    assert_eq!(error["message"], "configmaps \"none\" not found");
    assert_eq!(error["details"], json!({"name": "none", "kind": "configmaps"}));

    ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "a"}})).await;
    let wrong = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let body = proto::encode(bundle(), &wrong).unwrap().unwrap();
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let refused = with(&server, "DELETE", &format!("{MAPS}/a"), &headers, body).await;
    assert_eq!(refused.status(), 409);
    let right = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    let body = proto::encode(bundle(), &right).unwrap().unwrap();
    let done = with(&server, "DELETE", &format!("{MAPS}/a"), &headers, body).await;
    assert_eq!(decoded(&bytes(done).await)["status"], "Success");

    // A collection that was deleted is answered with what was in it.
    ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "b"}})).await;
    let done = with(&server, "DELETE", MAPS, &[("accept", PROTOBUF)], "").await;
    let list = decoded(&bytes(done).await);
    assert_eq!((&list["kind"], &list["items"][0]["metadata"]["name"]), (&json!("ConfigMapList"), &json!("b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_streams_of_framed_events() {
    let (server, ..) = server().await;
    ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    let path = format!("{MAPS}?watch=1&allowWatchBookmarks=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan");
    let accept = format!("{PROTOBUF};stream=watch,{PROTOBUF}");
    let response = with(&server, "GET", &path, &[("accept", &accept)], "").await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut body = response.into_body();
    let (mut seen, mut buffer) = (Vec::new(), Vec::new());
    while seen.last().is_none_or(|(sort, _)| sort != "BOOKMARK") {
        let whole = |b: &[u8]| b.len() >= 4 && b.len() >= 4 + u32::from_be_bytes(b[..4].try_into().unwrap()) as usize;
        while !whole(&buffer) {
            buffer.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        let length = u32::from_be_bytes(buffer[..4].try_into().unwrap()) as usize;
        let event: Vec<u8> = buffer.drain(..4 + length).skip(4).collect();
        let sort_end = 2 + usize::from(event[1]);
        let sort = String::from_utf8(event[2..sort_end].to_vec()).unwrap();
        let start = event.windows(4).position(|w| w == b"k8s\0").unwrap();
        seen.push((sort, decoded(&event[start..])));
    }
    let (sort, object) = &seen[seen.len() - 2];
    assert_eq!((sort.as_str(), &object["data"]), ("ADDED", &json!({"k": "v"})));
    let marked = &seen[seen.len() - 1].1["metadata"]["annotations"]["k8s.io/initial-events-end"];
    assert_eq!(marked, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_tables_are_made_of_every_kind() {
    let (server, ..) = server().await;
    ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    let one = format!("{MAPS}/a");
    for media in [PROTOBUF, JSON] {
        let read = |bytes: &[u8]| if media == JSON { json(bytes) } else { decoded(bytes) };
        let (_, kind, object) = get(&server, &one, &format!("{media};{PARTIAL}")).await;
        assert_eq!(kind, media);
        let object = read(&object);
        assert_eq!((&object["kind"], &object["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("a")));
        assert!(object["data"].is_null());
        let accept = format!("{media};as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io");
        let list = read(&get(&server, MAPS, &accept).await.2);
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1beta1"))
        );
    }
    let (code, _, refused) = get(&server, MAPS, &format!("{JSON};{PARTIAL}")).await;
    let want = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
    assert_eq!((code, json(&refused)["message"].as_str().unwrap()), (406, want));
    let table = "as=Table;v=v1;g=meta.k8s.io";
    let (code, _, _) = get(&server, &one, &format!("{PROTOBUF};{table}")).await;
    assert_eq!(code, 406);
    let (_, _, made) = get(&server, &one, &format!("{JSON};{table},{JSON}")).await;
    let made = json(&made);
    assert_eq!((&made["kind"], &made["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_old_proxies_are_served() {
    let (server, ..) = server().await;
    ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "a"}})).await;
    let one = format!("{MAPS}/a");
    let (_, _, pretty) = get(&server, &format!("{one}?pretty=true"), JSON).await;
    assert!(pretty.starts_with(b"{\n  \""));
    let (_, kind, yaml) = get(&server, &one, "application/yaml").await;
    assert_eq!(kind, "application/yaml");
    assert!(String::from_utf8(yaml).unwrap().contains("kind: ConfigMap\nmetadata:\n"));
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n";
    let headers = [("content-type", "application/yaml; charset=utf-8")];
    assert_eq!(with(&server, "POST", MAPS, &headers, yaml).await.status(), 201);
    let refused = with(&server, "POST", MAPS, &[("content-type", "text/csv")], yaml).await;
    assert_eq!(refused.status(), 415);
    let want = "the body of the request was in an unknown format - accepted media types include: \
        application/json, application/yaml, application/vnd.kubernetes.protobuf";
    assert_eq!(json(&bytes(refused).await)["message"], want);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_compressed_for_who_can_read_them() {
    let (server, _reader, _dir) = support::quiet().await;
    let large = json!({"metadata": {"name": "a"}, "data": {"k": "v".repeat(200_000)}});
    ask(&server, "POST", MAPS, JSON, large).await;
    let (_, plain) = ask(&server, "GET", MAPS, JSON, Value::Null).await;
    let response = with(&server, "GET", MAPS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(
        (&response.headers()["content-encoding"], &response.headers()["vary"]),
        (&"gzip".parse().unwrap(), &"Accept-Encoding".parse().unwrap())
    );
    let packed = bytes(response).await;
    assert!(packed.len() < 50_000, "{}", packed.len());
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut text).unwrap();
    assert_eq!(json(&text), plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_openapi_document_is_elsewhere_now() {
    let (server, ..) = server().await;
    let (_, _, index) = get(&server, "/openapi/v3", JSON).await;
    let newest = json(&index)["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let old = with(&server, "GET", "/openapi/v3/apis/apps/v1?hash=OLD", &[], "").await;
    assert_eq!((old.status().as_u16(), old.headers()["location"].to_str().unwrap()), (301, &*newest));
    let found = with(&server, "GET", &newest, &[], "").await;
    assert_eq!(found.status(), 200);
    assert!(found.headers()["cache-control"].to_str().unwrap().contains("immutable"));
}

async fn post(server: &ApiServer, method: &str, path: &str, object: Value) -> (u16, Value) {
    let body = proto::encode(bundle(), &object).unwrap().unwrap();
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let response = with(server, method, path, &headers, body).await;
    (response.status().as_u16(), decoded(&bytes(response).await))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_below_objects_is_protobuf_too() {
    let (server, ..) = server().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    assert_eq!(ask(&server, "POST", pods, JSON, pod).await.0, 201);
    let mut binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a", "resourceVersion": "1"},
        "target": {"kind": "Node", "name": "n"}});
    let (code, status) = post(&server, "POST", &format!("{pods}/a/binding"), binding.clone()).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{status}");
    binding["metadata"] = json!({"name": "a"});
    let (code, status) = post(&server, "POST", &format!("{pods}/a/binding"), binding).await;
    assert_eq!((code, &status["status"]), (201, &json!("Success")));
    // To have a place is nothing that somebody asks of the pod.
    let (_, bound) = ask(&server, "GET", &format!("{pods}/a"), JSON, Value::Null).await;
    assert_eq!((&bound["spec"]["nodeName"], &bound["metadata"]["generation"]), (&json!("n"), &json!(1)));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"},
        "deleteOptions": {"gracePeriodSeconds": 0}});
    assert_eq!(post(&server, "POST", &format!("{pods}/a/eviction"), eviction).await.0, 201);

    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let set =
        json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    assert_eq!(ask(&server, "POST", sets, JSON, set).await.0, 201);
    let scale = format!("{sets}/s/scale");
    let (_, _, now) = get(&server, &scale, PROTOBUF).await;
    let mut wanted = decoded(&now);
    wanted["spec"]["replicas"] = json!(4);
    let (code, scaled) = post(&server, "PUT", &scale, wanted).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_below_objects_are_checked() {
    let (server, ..) = server().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let set = json!({"metadata": {"name": "s"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    ask(&server, "POST", sets, JSON, set).await;
    let (code, error) = ask(&server, "PUT", &format!("{sets}/s/scale"), JSON, json!({"spec": {"replicas": "x"}})).await;
    let want = "Scale in version \"v1\" cannot be handled as a Scale: \
        json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32";
    assert_eq!((code, error["message"].as_str().unwrap()), (400, want));
    let (code, error) = ask(&server, "DELETE", &format!("{sets}/s"), JSON, json!({"gracePeriodSeconds": "x"})).await;
    let want = "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64";
    assert_eq!((code, error["message"].as_str().unwrap()), (400, want));
    let (_, still) = ask(&server, "GET", &format!("{sets}/s"), JSON, Value::Null).await;
    assert_eq!(still["spec"]["replicas"], 3);
}
