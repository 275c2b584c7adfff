//! Versions and features that are switched on and off.

mod support;

use ironclad_json::{Value, json};
use ironclad_schema::{bundle, cbor};
use support::{JSON, ask, bytes, send, switched, with};

const PUBLIC: &str = "MCowBQYDK2VwAyEAxbLJ0EYIgtinjX/COBcum6JI50v8oqcmwNYE7K1OKeU=";
const PROOF: &str = "ztIOs9Av/Gkjs9DWCqY9+JsGU2La4A/6tOkm6U0f9fDq1cEqZvJong7UxiYG1IaTgNBCbS7pNSOYcPFrZEdfDw==";
const CLAIMS: &str = "/apis/resource.k8s.io/v1beta1/namespaces/default/resourceclaims";
const NEW: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_version_that_is_switched_on_is_served_converted_and_told_to_be_deprecated() {
    let (server, _dir) = switched("resource.k8s.io/v1beta1=true", "").await;
    let claim = json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [
        {"name": "r", "deviceClassName": "gpu"}]}}});
    let answer = with(&server, "POST", CLAIMS, &[("content-type", JSON)], claim.to_string()).await;
    assert_eq!(answer.status(), 201);
    let warning = answer.headers()["warning"].to_str().unwrap().to_owned();
    let expected = "299 - \"resource.k8s.io/v1beta1 ResourceClaim is deprecated in v1.36+, unavailable in v1.39+\"";
    assert_eq!(warning, expected);
    let made: Value = serde_json::from_slice(&bytes(answer).await).unwrap();
    assert_eq!(made["apiVersion"], "resource.k8s.io/v1beta1");
    assert_eq!(made["spec"]["devices"]["requests"][0]["count"], 1, "{made}");
    let (code, new) = ask(&server, "GET", &format!("{NEW}/a"), JSON, Value::Null).await;
    assert_eq!((code, &new["apiVersion"]), (200, &json!("resource.k8s.io/v1")));
    let request = &new["spec"]["devices"]["requests"][0];
    assert_eq!(request["exactly"], json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}));
    let (_, list) = ask(&server, "GET", CLAIMS, JSON, Value::Null).await;
    assert_eq!(list["items"][0]["spec"]["devices"]["requests"][0]["deviceClassName"], "gpu");
    let wrong =
        json!({"metadata": {"name": "b"}, "spec": {"devices": {"requests": [{"name": "r", "deviceClassName": "A"}]}}});
    let (code, error) = ask(&server, "POST", CLAIMS, JSON, wrong).await;
    assert_eq!(code, 422);
    assert_eq!(error["details"]["causes"][0]["field"], "spec.devices.requests[0].exactly.deviceClassName", "{error}");
    let (_, group) = ask(&server, "GET", "/apis/resource.k8s.io", JSON, Value::Null).await;
    let versions: Vec<&str> =
        group["versions"].as_array().unwrap().iter().map(|v| v["version"].as_str().unwrap()).collect();
    assert_eq!((versions.as_slice(), &group["preferredVersion"]["version"]), (&["v1", "v1beta1"][..], &json!("v1")));
}

#[tokio::test]
async fn a_version_that_is_off_is_not_there() {
    let (server, _dir) = switched("batch/v1/cronjobs=false", "").await;
    for path in [CLAIMS, "/apis/resource.k8s.io/v1beta1", "/apis/batch/v1/cronjobs", "/apis/lifecycle.k8s.io"] {
        assert_eq!(ask(&server, "GET", path, JSON, Value::Null).await.0, 404, "{path}");
    }
    let (_, jobs) = ask(&server, "GET", "/apis/batch/v1", JSON, Value::Null).await;
    let names: Vec<&str> = jobs["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["jobs", "jobs/status"]);
    let (_, groups) = ask(&server, "GET", "/apis", JSON, Value::Null).await;
    assert!(!groups.to_string().contains("beta") && !groups.to_string().contains("alpha"), "{groups}");
}

#[tokio::test]
async fn every_version_is_served_when_everything_is_on() {
    let (server, _dir) = switched("api/all=true", "AllAlpha=true,AllBeta=true").await;
    for kind in ironclad_kinds::all() {
        if kind.verbs.len() < 8 {
            continue;
        }
        let path = format!("/apis/{}/{}/{}", kind.group, kind.version, kind.plural).replace("/apis//", "/api/");
        let (code, list) = ask(&server, "GET", &path, JSON, Value::Null).await;
        assert_eq!((code, &list["kind"]), (200, &json!(kind.list_kind)), "{path}");
        if !kind.group.is_empty() {
            let (code, _) =
                ask(&server, "GET", &format!("/openapi/v3/apis/{}/{}", kind.group, kind.version), JSON, Value::Null)
                    .await;
            assert_eq!(code, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn what_only_an_older_version_says_is_kept() {
    let (server, _dir) = switched("certificates.k8s.io/v1beta1=true", "").await;
    let path = |version: &str| format!("/apis/certificates.k8s.io/{version}/namespaces/default/podcertificaterequests");
    let request = json!({"metadata": {"name": "a"}, "spec": {"signerName": "x.io/y", "podName": "p", "podUID": "u",
        "serviceAccountName": "s", "serviceAccountUID": "u", "nodeName": "n", "nodeUID": "u",
        // An Ed25519 key, and the pod's uid signed by it.
        "pkixPublicKey": PUBLIC, "proofOfPossession": PROOF}});
    let (code, made) = ask(&server, "POST", &path("v1beta1"), JSON, request).await;
    assert_eq!(code, 201, "{made}");
    let (_, old) = ask(&server, "GET", &format!("{}/a", path("v1beta1")), JSON, Value::Null).await;
    assert_eq!(old["spec"]["pkixPublicKey"], PUBLIC);
    let (code, new) = ask(&server, "GET", &format!("{}/a", path("v1")), JSON, Value::Null).await;
    assert_eq!((code, &new["apiVersion"]), (200, &json!("certificates.k8s.io/v1")));
    assert!(new["spec"].get("pkixPublicKey").is_none(), "{new}");
}

#[tokio::test]
async fn cbor_is_spoken_only_behind_its_gate() {
    let (server, _dir) = switched("", "").await;
    let answer = with(&server, "GET", MAPS, &[("accept", "application/cbor")], "").await;
    assert_eq!(answer.status(), 406);
    let (code, error) = ask(&server, "POST", MAPS, "application/cbor", json!({})).await;
    assert_eq!(code, 415);
    assert!(!error["message"].as_str().unwrap().contains("cbor"), "{error}");
}

#[tokio::test]
async fn objects_lists_patches_and_watches_are_cbor_for_who_wants_it() {
    let (server, _dir) = switched("", "CBORServingAndStorage=true").await;
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}, "binaryData": {"b": "AAE="}});
    let both = [("content-type", "application/cbor"), ("accept", "application/cbor")];
    let answer = with(&server, "POST", MAPS, &both, cbor::encode(bundle(), &map("a")).unwrap()).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (201, "application/cbor")
    );
    let made = cbor::decode(&bytes(answer).await).unwrap();
    assert_eq!((&made["data"]["k"], &made["binaryData"]["b"]), (&json!("v"), &json!("AAE=")));
    let (_, json) = ask(&server, "GET", &format!("{MAPS}/a"), JSON, Value::Null).await;
    assert_eq!(json, made);

    let patch = [("content-type", "application/apply-patch+cbor"), ("accept", "application/cbor")];
    let path = format!("{MAPS}/b?fieldManager=m");
    let answer = with(&server, "PATCH", &path, &patch, cbor::encode(bundle(), &map("b")).unwrap()).await;
    assert_eq!(answer.status(), 201);
    let applied = cbor::decode(&bytes(answer).await).unwrap();
    assert_eq!(applied["metadata"]["managedFields"][0]["operation"], "Apply");

    let answer = with(&server, "GET", &format!("{MAPS}?limit=1"), &both[1..], "").await;
    let list = cbor::decode(&bytes(answer).await).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("ConfigMapList"), 1));

    let path = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let answer = with(&server, "GET", &path, &both[1..], "").await;
    assert_eq!(answer.headers()["content-type"], "application/cbor-seq");
    let events = bytes(answer).await;
    // Each event begins with the tag, which stands nowhere else but before a map of two.
    let heads: Vec<usize> = (0..events.len()).filter(|i| events[*i..].starts_with(&[0xd9, 0xd9, 0xf7, 0xa2])).collect();
    assert_eq!(heads.len(), 2, "{events:x?}");
    let event = cbor::decode(&events[..heads[1]]).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));

    let answer = with(&server, "GET", &format!("{MAPS}/none"), &both[1..], "").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(cbor::decode(&bytes(answer).await).unwrap()["reason"], "NotFound");
    let answer = send(&server, "POST", MAPS, "application/cbor", &b"\xff"[..]).await;
    assert_eq!(answer.status(), 400);
    let (code, error) = ask(&server, "POST", MAPS, "text/plain", json!({})).await;
    assert!(code == 415 && error["message"].as_str().unwrap().ends_with(", application/cbor"), "{error}");
}

#[tokio::test]
async fn watches_begin_with_what_is_there_only_while_the_feature_is_on() {
    let (server, _dir) = switched("", "WatchList=false").await;
    let path = format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    let (code, error) = ask(&server, "GET", &path, JSON, Value::Null).await;
    assert_eq!(code, 422);
    let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
    assert!(error["message"].as_str().unwrap().contains(why), "{error}");
}
