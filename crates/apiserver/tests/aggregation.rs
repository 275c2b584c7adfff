//! Group versions that another server answers: the steps of upstream's test of the sample API server, what keeps one from
//! being available, and what such a server and its clients can do to each other.

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use ironclad_api::UserInfo;
use ironclad_apiserver::ApiServer;
use ironclad_auth::pki::{Pki, Subject};
use ironclad_json::{Value, json};
use ironclad_store::{LogStore, Options};
use ironclad_testkit::extension::{Extension, Files, PLACE};
use rustls::pki_types::ServerName;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use support::{JSON, ask, behind_proxy, send};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";

struct World {
    server: ApiServer,
    extension: Extension,
    pki: Pki,
    authority: Pki,
    dir: TempDir,
    token: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// An address of this machine that is not loopback: nothing on loopback is ever dialled.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.99:9").unwrap();
    socket.local_addr().unwrap().ip()
}

async fn world() -> World {
    ironclad_auth::install_crypto();
    let dir = TempDir::new().unwrap();
    let pki = Pki::open_or_create(&dir.path().join("pki"), "test").unwrap();
    let (front_proxies, identity) = pki.front_proxy().unwrap();
    let authority = Pki::open_or_create(&dir.path().join("sample"), "sample").unwrap();
    let names = vec!["sample-api.sample-system.svc".to_owned()];
    let pair = authority.issue("serving", &Subject::server("sample", "", names)).unwrap();
    let files = Files { certificate: &pair.certificate, key: &pair.key, front_proxies: &front_proxies };
    let extension = Extension::start(files, own_address()).await.unwrap();
    let store = Arc::new(LogStore::open(&dir.path().join("store"), Options::default()).unwrap());
    let token = CancellationToken::new();
    let server = behind_proxy(store, Some(identity), token.clone()).await.0;
    World { server, extension, pki, authority, dir, token }
}

fn bundle(pem: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(pem)
}

impl World {
    /// A connection to the server as clients make it.
    async fn connect(&self) -> TlsStream<TcpStream> {
        let serving = self.pki.issue("serving", &Subject::server("apiserver", "", vec!["127.0.0.1".into()])).unwrap();
        let client = self.pki.issue("client", &Subject::client("somebody", "")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, token) = (self.server.clone(), self.token.clone());
        let tls = ironclad_auth::pki::api_tls(&serving, self.pki.ca()).unwrap();
        tokio::spawn(async move { server.serve(listener, tls, token).await });
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(self.pki.client_tls(&client).unwrap());
        connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        ask(&self.server, method, path, JSON, body).await
    }

    async fn text(&self, method: &str, path: &str) -> (u16, String) {
        let answer = send(&self.server, method, path, JSON, "").await;
        let code = answer.status().as_u16();
        (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn make(&self, path: &str, object: Value) -> Value {
        let (code, made) = self.ask("POST", path, object).await;
        assert_eq!(code, 201, "{made}");
        made
    }

    async fn service(&self) {
        self.make("/api/v1/namespaces", json!({"metadata": {"name": "sample-system"}})).await;
        let ports = json!([{"name": "https", "port": 443, "targetPort": 8443}]);
        let service = json!({"metadata": {"name": "sample-api"}, "spec": {"ports": ports}});
        self.make("/api/v1/namespaces/sample-system/services", service).await;
    }

    async fn endpoints(&self, address: &str) {
        let slice = json!({
            "metadata": {"name": "sample-api-1", "labels": {"kubernetes.io/service-name": "sample-api"}},
            "addressType": "IPv4", "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": self.extension.address().port(), "protocol": "TCP"}],
        });
        self.make("/apis/discovery.k8s.io/v1/namespaces/sample-system/endpointslices", slice).await;
    }

    fn api_service(&self) -> Value {
        json!({
            "metadata": {"name": NAME},
            "spec": {
                "service": {"namespace": "sample-system", "name": "sample-api"}, "group": "wardle.example.com",
                "version": "v1alpha1", "caBundle": bundle(self.authority.ca()),
                "groupPriorityMinimum": 2000, "versionPriority": 200,
            },
        })
    }

    /// Registers the other server and waits until it is available.
    async fn register(&self) {
        self.service().await;
        self.endpoints(&self.extension.address().ip().to_string()).await;
        self.make(SERVICES, self.api_service()).await;
        self.condition("True", "Passed").await;
    }

    /// Waits for a condition; returns its message.
    async fn condition(&self, status: &str, reason: &str) -> String {
        let mut seen = Value::Null;
        for _ in 0..500 {
            let (_, object) = self.ask("GET", &format!("{SERVICES}/{NAME}"), Value::Null).await;
            seen = object["status"]["conditions"][0].clone();
            // The table follows the object.
            if seen["status"] == status && seen["reason"] == reason {
                tokio::time::sleep(Duration::from_millis(30)).await;
                return seen["message"].as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the condition is {seen}, not {status} for {reason}");
    }
}

const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_api_server_works_through_this_one() {
    let world = world().await;
    world.register().await;
    let flunder = json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder",
        "metadata": {"name": "test-flunder", "labels": {"sample-label": "true"}}});
    let made = world.make(FLUNDERS, flunder.clone()).await;
    assert_eq!(made["metadata"]["namespace"], "default");
    let (code, list) = world.ask("GET", FLUNDERS, Value::Null).await;
    assert_eq!(
        (code, &list["kind"], &list["items"][0]["metadata"]["name"]),
        (200, &json!("FlunderList"), &json!("test-flunder"))
    );
    let (code, patched) = ask(
        &world.server,
        "PATCH",
        &format!("{FLUNDERS}/test-flunder"),
        "application/merge-patch+json",
        json!({"spec": {"reference": "other"}}),
    )
    .await;
    assert_eq!((code, &patched["spec"]["reference"]), (200, &json!("other")));
    // A watch streams while others write.
    let mut watch = send(&world.server, "GET", &format!("{FLUNDERS}?watch=true"), JSON, "").await.into_body();
    let mut other = flunder;
    other["metadata"]["name"] = json!("dynamic-flunder");
    world.make(FLUNDERS, other).await;
    let frame = tokio::time::timeout(Duration::from_secs(5), watch.frame()).await.unwrap().unwrap().unwrap();
    let event: Value = serde_json::from_slice(&frame.into_data().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("dynamic-flunder")));
    assert_eq!(world.ask("DELETE", &format!("{FLUNDERS}/dynamic-flunder"), Value::Null).await.0, 200);
    let (code, missing) = world.ask("GET", &format!("{FLUNDERS}/dynamic-flunder"), Value::Null).await;
    assert_eq!((code, &missing["reason"]), (404, &json!("NotFound")));
    // The APIService's status can be read, replaced and patched as upstream's test does.
    let status = format!("{SERVICES}/{NAME}/status");
    let (code, mut found) = world.ask("GET", &status, Value::Null).await;
    assert_eq!((code, &found["status"]["conditions"][0]["type"]), (200, &json!("Available")));
    found["status"]["conditions"].as_array_mut().unwrap().push(json!({
        "type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from e2e test",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}));
    let (code, updated) = world.ask("PUT", &status, found).await;
    assert_eq!((code, updated["status"]["conditions"].as_array().unwrap().len()), (200, 2), "{updated}");
    let (code, _) = world.ask("DELETE", &format!("{SERVICES}/{NAME}"), Value::Null).await;
    assert_eq!(code, 200);
    for _ in 0..100 {
        if world.text("GET", FLUNDERS).await.0 == 404 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("flunders are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_server_knows_the_user_from_us_alone() {
    let world = world().await;
    world.register().await;
    let mut request = Request::builder()
        .uri(FLUNDERS)
        .header("x-remote-user", "admin")
        .header("x-remote-group", "system:masters")
        .header("x-remote-extra-scope", "all")
        .header("authorization", "Bearer secret")
        .header("connection", "x-remote-user")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let mut user = UserInfo::new("bob", &["system:masters"]);
    user.uid = "17".to_owned();
    user.extra.insert("example.com/shoe".into(), vec!["42".into()]);
    request.extensions_mut().insert(user);
    assert_eq!(world.server.clone().call(request).await.unwrap().status(), 200);
    let asked = world.extension.asked();
    let seen = asked.iter().rfind(|a| a.path == FLUNDERS).unwrap();
    assert_eq!(seen.client, "front-proxy-client");
    assert_eq!(seen.all("x-remote-user"), ["bob"]);
    assert_eq!(seen.all("x-remote-uid"), ["17"]);
    assert_eq!(seen.all("x-remote-group"), ["system:masters", "system:authenticated"]);
    assert_eq!(seen.all("x-remote-extra-example.com%2fshoe"), ["42"]);
    assert!(seen.all("x-remote-extra-scope").is_empty() && seen.all("authorization").is_empty());
    let check = asked.iter().find(|a| a.path == PLACE).unwrap();
    assert_eq!(
        (check.all("x-remote-user"), check.all("x-remote-group")),
        (vec!["system:kube-aggregator"], vec!["system:masters"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_server_from_being_available_is_told_and_mended() {
    let world = world().await;
    world.make(SERVICES, world.api_service()).await;
    let message = world.condition("False", "ServiceNotFound").await;
    assert_eq!(message, "service/sample-api in \"sample-system\" is not present");
    let (code, text) = world.text("GET", FLUNDERS).await;
    assert_eq!((code, text.as_str()), (503, "service unavailable\n"));
    world.service().await;
    let message = world.condition("False", "EndpointsNotFound").await;
    assert_eq!(message, "cannot find endpointslices for service/sample-api in \"sample-system\"");
    world.extension.set_healthy(false);
    world.endpoints(&world.extension.address().ip().to_string()).await;
    let message = world.condition("False", "FailedDiscoveryCheck").await;
    assert!(
        message.starts_with("failing or missing response from https://") && message.ends_with(": 500"),
        "{message}"
    );
    world.extension.set_healthy(true);
    world.condition("True", "Passed").await;
    assert_eq!(world.text("GET", FLUNDERS).await.0, 200);
    let slice = "/apis/discovery.k8s.io/v1/namespaces/sample-system/endpointslices/sample-api-1";
    assert_eq!(world.ask("DELETE", slice, Value::Null).await.0, 200);
    world.condition("False", "EndpointsNotFound").await;
    assert_eq!(world.text("GET", FLUNDERS).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_openapi_show_what_the_other_server_has() {
    let world = world().await;
    world.register().await;
    let (_, groups) = world.ask("GET", "/apis", Value::Null).await;
    let names: Vec<&str> = groups["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("apiregistration.k8s.io", "wardle.example.com"));
    let (_, group) = world.ask("GET", "/apis/wardle.example.com", Value::Null).await;
    assert_eq!((&group["kind"], &group["preferredVersion"]["version"]), (&json!("APIGroup"), &json!("v1alpha1")));
    let (_, resources) = world.ask("GET", PLACE, Value::Null).await;
    assert_eq!(resources["resources"][0]["name"], "flunders");
    let whole = |server: ApiServer| async move {
        let mut request = Request::builder()
            .uri("/apis")
            .header("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
            .body(Full::new(Bytes::new()))
            .unwrap();
        request.extensions_mut().insert(UserInfo::new("tester", &["system:masters"]));
        let answer = server.clone().call(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let list: Value = serde_json::from_slice(&answer).unwrap();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|g| g["metadata"]["name"] == "wardle.example.com")
            .cloned()
            .unwrap()
    };
    let version = whole(world.server.clone()).await["versions"][0].clone();
    assert_eq!((&version["freshness"], &version["resources"][0]["resource"]), (&json!("Current"), &json!("flunders")));
    let (_, index) = world.ask("GET", "/openapi/v3", Value::Null).await;
    let url = index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let (code, document) = world.ask("GET", &url, Value::Null).await;
    assert_eq!(code, 200);
    assert!(document["components"]["schemas"]["com.example.wardle.v1alpha1.Flunder"].is_object());
    let (_, swagger) = world.ask("GET", "/openapi/v2", Value::Null).await;
    assert!(swagger["definitions"]["com.example.wardle.v1alpha1.FlunderSpec"].is_object());
    assert!(swagger["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    assert!(swagger["paths"]["/apis/wardle.example.com/v1alpha1/namespaces/{namespace}/flunders"].is_object());
    assert!(swagger["paths"]["/apis/other.example.com/v1/things"].is_null(), "only its own group version");
    // When it goes its resources are stale, not gone.
    let slice = "/apis/discovery.k8s.io/v1/namespaces/sample-system/endpointslices/sample-api-1";
    world.ask("DELETE", slice, Value::Null).await;
    world.condition("False", "EndpointsNotFound").await;
    assert_eq!(whole(world.server.clone()).await["versions"][0]["freshness"], "Stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_the_old_form_of_discovery_is_understood() {
    let world = world().await;
    world.extension.set_old(true);
    world.register().await;
    let mut request = Request::builder()
        .uri("/apis")
        .header("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
        .body(Full::new(Bytes::new()))
        .unwrap();
    request.extensions_mut().insert(UserInfo::new("tester", &["system:masters"]));
    let answer = world.server.clone().call(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let list: Value = serde_json::from_slice(&answer).unwrap();
    let group =
        list["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "wardle.example.com").unwrap();
    let flunders = &group["versions"][0]["resources"][0];
    assert_eq!(
        (&flunders["resource"], &flunders["responseKind"]["kind"], &flunders["scope"]),
        (&json!("flunders"), &json!("Flunder"), &json!("Namespaced"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_has_not_signed_the_server_is_an_error_and_skipping_the_check_is_possible() {
    let world = world().await;
    let other = Pki::open_or_create(&world.dir.path().join("other"), "other").unwrap();
    world.service().await;
    world.endpoints(&world.extension.address().ip().to_string()).await;
    let mut object = world.api_service();
    object["spec"]["caBundle"] = json!(bundle(other.ca()));
    world.make(SERVICES, object).await;
    // Looking whether somebody answers trusts anybody, as stock does.
    world.condition("True", "Passed").await;
    let (code, text) = world.text("GET", FLUNDERS).await;
    assert!(code == 503 && text.starts_with("error trying to reach service: "), "{code} {text}");
    let path = format!("{SERVICES}/{NAME}");
    let mut made = world.ask("GET", &path, Value::Null).await.1;
    made["spec"]["insecureSkipTLSVerify"] = json!(true);
    let (code, refused) = world.ask("PUT", &path, made.clone()).await;
    assert_eq!(code, 422);
    assert!(refused["message"].as_str().unwrap().contains("may not be true if caBundle is present"), "{refused}");
    made["spec"].as_object_mut().unwrap().remove("caBundle");
    assert_eq!(world.ask("PUT", &path, made).await.0, 200);
    for _ in 0..100 {
        if world.text("GET", FLUNDERS).await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is still not reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_3172_redirects_by_an_aggregated_server_are_neither_followed_nor_passed_on() {
    let world = world().await;
    world.register().await;
    let answer = send(&world.server, "GET", &format!("{FLUNDERS}/a/redirect"), JSON, "").await;
    assert_eq!(answer.status(), 502);
    assert!(answer.headers().get("location").is_none());
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&text[..], b"the backend attempted to redirect this request, which is not permitted\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_protocols_that_nobody_asked_for_makes_no_tunnel() {
    let world = world().await;
    world.register().await;
    let answer = send(&world.server, "GET", &format!("{FLUNDERS}/a/switch"), JSON, "").await;
    assert!(answer.status().is_server_error(), "{}", answer.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_cannot_climb_out_of_its_group_version() {
    let world = world().await;
    world.register().await;
    let before = world.extension.asked().len();
    for path in [format!("{PLACE}/../../../openapi/v2"), format!("{PLACE}/%2e%2e/x")] {
        assert_eq!(world.text("GET", &path).await.0, 400, "{path}");
    }
    assert_eq!(world.extension.asked().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ssrf_an_endpoint_on_this_machine_is_not_dialled() {
    let world = world().await;
    world.service().await;
    let slice = json!({
        "metadata": {"name": "sample-api-1", "labels": {"kubernetes.io/service-name": "sample-api"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["169.254.169.254"]}],
        "ports": [{"name": "https", "port": 80, "protocol": "TCP"}],
    });
    let path = "/apis/discovery.k8s.io/v1/namespaces/sample-system/endpointslices";
    let (code, refused) = world.ask("POST", path, slice).await;
    world.make(SERVICES, world.api_service()).await;
    // Validation may have refused the slice already.
    let reason = if code == 201 { "MissingEndpoints" } else { "EndpointsNotFound" };
    world.condition("False", reason).await;
    assert!(code == 201 || code == 422, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_group_version_of_this_server_is_registered_as_stock_registers_it() {
    let world = world().await;
    let mut list = Value::Null;
    for _ in 0..100 {
        list = world.ask("GET", SERVICES, Value::Null).await.1;
        if list["items"].as_array().is_some_and(|items| items.len() > 20) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let items = list["items"].as_array().unwrap();
    let of = |name: &str| items.iter().find(|i| i["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let core = of("v1.");
    assert_eq!((&core["spec"]["groupPriorityMinimum"], &core["spec"]["versionPriority"]), (&json!(18000), &json!(1)));
    let apps = of("v1.apps");
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    let condition = &apps["status"]["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("Local"), &json!("Local APIServices are always available"))
    );
    assert!(items.iter().all(|i| i["metadata"]["name"] != "v1.apiregistration.k8s.io"));
}

/// Sends a request that wants another protocol; returns the head of the answer.
async fn upgrade(stream: &mut TlsStream<TcpStream>, name: &str) -> String {
    let head = format!(
        "GET {FLUNDERS}/a/{name} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Remote-User: admin\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_like_exec_go_through() {
    let world = world().await;
    world.register().await;
    let mut stream = world.connect().await;
    let head = upgrade(&mut stream, "exec").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.to_lowercase().contains("upgrade: echo"), "{head}");
    for text in ["hello", "and again"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut echo = vec![0; text.len()];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, text.as_bytes());
    }
    let asked = world.extension.asked();
    let seen = asked.iter().rfind(|a| a.path.ends_with("/exec")).unwrap();
    assert_eq!(seen.all("x-remote-user"), ["somebody"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_upgrades_leave_no_tunnel() {
    let world = world().await;
    world.register().await;
    for (name, code) in [("refuse", "403"), ("redirect", "503")] {
        let mut stream = world.connect().await;
        let head = upgrade(&mut stream, name).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code}")), "{head}");
        assert!(!head.contains("169.254"), "{head}");
        // What follows on the connection is a request of its own to this server, never bytes for the other one.
        let before = world.extension.asked().len();
        let smuggled = format!("GET {FLUNDERS}/smuggled HTTP/1.1\r\nHost: x\r\nX-Remote-User: admin\r\n\r\n");
        // The server may have closed the connection, which is as good.
        let _ = stream.write_all(smuggled.as_bytes()).await;
        let mut rest = [0; 1024];
        let _ = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut rest)).await;
        let asked = world.extension.asked();
        assert!(asked[before..].iter().all(|a| a.all("x-remote-user") != ["admin"]), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_is_registered_as_long_as_it_is_served() {
    let world = world().await;
    let path = format!("{SERVICES}/v1.widgets.example.com");
    let until = async |code: u16| {
        for _ in 0..200 {
            let (got, object) = world.ask("GET", &path, Value::Null).await;
            if got == code {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path} does not become {code}");
    };
    let mut kind = (**ironclad_kinds::all().iter().find(|k| &*k.plural == "configmaps").unwrap()).clone();
    kind.group = "widgets.example.com".into();
    kind.plural = "widgets".into();
    kind.prefix = "/registry/widgets.example.com/widgets/".into();
    let resource = ironclad_api::GroupResource::new("widgets.example.com", "widgets");
    world.server.publish(resource.clone(), vec![Arc::new(kind)]).await.unwrap();
    let made = until(200).await;
    assert_eq!(made["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    let spec =
        json!({"group": "widgets.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100});
    assert_eq!(made["spec"], spec);
    // Who removes it gets another.
    assert_eq!(world.ask("DELETE", &path, Value::Null).await.0, 200);
    assert_ne!(until(200).await["metadata"]["uid"], made["metadata"]["uid"]);
    world.server.publish(resource, Vec::new()).await.unwrap();
    until(404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_which_servers_are_not_available() {
    let world = world().await;
    world.make(SERVICES, world.api_service()).await;
    world.condition("False", "ServiceNotFound").await;
    let (_, text) = world.text("GET", "/metrics").await;
    assert!(text.contains("aggregator_unavailable_apiservice{name=\"v1alpha1.wardle.example.com\"} 1"), "{text}");
}
