//! Several servers on one etcd give out addresses and ports of Services: nothing twice, and nothing is lost.

mod support;

use ironclad_apiserver::{ApiServer, StockCodec};
use ironclad_json::{Value, json};
use ironclad_store::{Change, EtcdOptions, EtcdStore, Expect, Op, Store, Tls};
use ironclad_testkit::Etcd;
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{JSON, admitting_over, ask, eventually, narrow};
use tokio_util::sync::CancellationToken;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
/// So few that servers meet.
const PORTS: (u16, u16) = (30000, 30031);

async fn store(etcd: &Etcd) -> Arc<EtcdStore> {
    let options = EtcdOptions {
        servers: vec![etcd.url()],
        tls: Tls::default(),
        prefix: ("/registry".to_owned(), "/registry".to_owned()),
        codec: Arc::new(StockCodec::default()),
        patience: std::time::Duration::from_secs(10),
        transform: None,
        way: ironclad_remote::Way::default(),
    };
    Arc::new(EtcdStore::open(options).await.unwrap())
}

async fn server(etcd: &Etcd) -> (ApiServer, Arc<EtcdStore>) {
    let store = store(etcd).await;
    let cidr = "10.0.0.0/26".parse().unwrap();
    (narrow(store.clone(), cidr, PORTS, CancellationToken::new()).await, store)
}

fn service(name: &str, spec: &Value) -> Value {
    json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec})
}

fn node_port(service: &Value) -> u64 {
    service["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or_else(|| panic!("no port in {service}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_create_at_once_give_nothing_out_twice() {
    let etcd = Etcd::start().unwrap();
    let servers = [server(&etcd).await.0, server(&etcd).await.0];
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let creates = (0..32).map(|n| {
        let (server, body) = (servers[n % 2].clone(), service(&format!("s{n}"), &spec));
        tokio::spawn(async move { ask(&server, "POST", SERVICES, JSON, body).await })
    });
    let (mut ports, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for create in creates.collect::<Vec<_>>() {
        let (code, made) = create.await.unwrap();
        assert_eq!(code, 201, "{made}");
        assert!(ports.insert(node_port(&made)), "port twice: {made}");
        assert!(addresses.insert(made["spec"]["clusterIP"].to_string()), "address twice: {made}");
    }
    for server in &servers {
        let (code, full) = ask(server, "POST", SERVICES, JSON, service("more", &spec)).await;
        let why = full["message"].as_str().unwrap();
        assert!(code == 422 && why.contains("failed to allocate a nodePort: range is full"), "{full}");
    }
    // What one server frees another gives out, for just this port too.
    let (_, gone) = ask(&servers[0], "GET", &format!("{SERVICES}/s7"), JSON, Value::Null).await;
    assert_eq!(ask(&servers[0], "DELETE", &format!("{SERVICES}/s7"), JSON, Value::Null).await.0, 200);
    let taken = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port(&gone)}]});
    let (code, next) = ask(&servers[1], "POST", SERVICES, JSON, service("next", &taken)).await;
    assert_eq!(code, 201, "{next}");
    let (code, refused) = ask(&servers[0], "POST", SERVICES, JSON, service("late", &taken)).await;
    assert!(code == 422 && refused["message"].as_str().unwrap().contains("provided port is already allocated"));
    let (_, all) = ask(&servers[1], "GET", ADDRESSES, JSON, Value::Null).await;
    // Those of 32 Services and of `kubernetes`.
    assert_eq!(all["items"].as_array().unwrap().len(), 33);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_or_only_tries_leaves_its_ports() {
    let etcd = Etcd::start().unwrap();
    let (one, two) = (server(&etcd).await.0, server(&etcd).await.0);
    let fixed = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30007}]});
    for _ in 0..2 {
        let (code, tried) = ask(&one, "POST", &format!("{SERVICES}?dryRun=All"), JSON, service("a", &fixed)).await;
        assert_eq!((code, node_port(&tried)), (201, 30007), "{tried}");
    }
    assert_eq!(ask(&two, "POST", SERVICES, JSON, service("a", &json!({"ports": [{"port": 80}]}))).await.0, 201);
    let (code, refused) = ask(&one, "POST", SERVICES, JSON, service("a", &fixed)).await;
    assert_eq!(code, 409, "{refused}");
    // The refused one gives the port back behind its answer.
    let again = support::eventually(|| async {
        let (code, made) = ask(&two, "POST", SERVICES, JSON, service("b", &fixed)).await;
        (code == 201).then_some(made)
    });
    assert_eq!(node_port(&again.await), 30007);
    // A Service that needs its port no longer gives it back.
    let patch = json!({"spec": {"type": "ClusterIP"}});
    let merge = "application/merge-patch+json";
    assert_eq!(ask(&one, "PATCH", &format!("{SERVICES}/b"), merge, patch).await.0, 200);
    let (code, next) = ask(&two, "POST", SERVICES, JSON, service("c", &fixed)).await;
    assert_eq!(code, 201, "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_servers_without_objects_of_addresses_get_theirs() {
    let etcd = Etcd::start().unwrap();
    let (one, store) = server(&etcd).await;
    let (_, mut made) =
        ask(&one, "POST", SERVICES, JSON, service("a", &json!({"clusterIP": "10.0.0.32", "ports": [{"port": 80}]})))
            .await;
    // What a stock server of version 1.20 would store.
    made["metadata"]["name"] = json!("b");
    made["spec"]["clusterIP"] = json!("10.0.0.33");
    made["spec"]["clusterIPs"] = json!(["10.0.0.33"]);
    let metadata = made["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    let rest =
        serde_json::to_string(&made).unwrap().replacen("\"metadata\":{", "\"metadata\":{\"resourceVersion\":\"\",", 1);
    let place = rest.find("\"resourceVersion\":\"").unwrap() + "\"resourceVersion\":\"".len();
    let value = ironclad_store::Template::new(rest.into_bytes().into(), place);
    let key: ironclad_store::Key = "/registry/services/specs/default/b".into();
    let put = Op { key: key.clone(), expect: Expect::Absent, change: Change::Put { value, ttl: None } };
    store.commit(vec![put]).await.unwrap();
    let address = format!("{ADDRESSES}/10.0.0.33");
    let object = support::eventually(|| async {
        let (code, object) = ask(&one, "GET", &address, JSON, Value::Null).await;
        (code == 200).then_some(object)
    });
    let object = object.await;
    assert_eq!(object["spec"]["parentRef"]["name"], "b", "{object} {made}");
    let delete = Op { key, expect: Expect::Any, change: Change::Delete { last: None } };
    store.commit(vec![delete]).await.unwrap();
    support::eventually(|| async {
        let (code, _) = ask(&one, "GET", &address, JSON, Value::Null).await;
        (code == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_for_all_servers_together() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
    let etcd = Etcd::start().unwrap();
    let servers = [admitting_over(store(&etcd).await).await, admitting_over(store(&etcd).await).await];
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "7"}}});
    let (code, mut quota) = ask(&servers[0], "POST", QUOTAS, JSON, quota).await;
    assert_eq!(code, 201, "{quota}");
    // What the controller would say of it.
    quota["status"] = json!({"hard": {"count/configmaps": "7"}, "used": {"count/configmaps": "0"}});
    assert_eq!(ask(&servers[0], "PUT", &format!("{QUOTAS}/q/status"), JSON, quota).await.0, 200);
    eventually(|| async {
        let (_, seen) = ask(&servers[1], "GET", &format!("{QUOTAS}/q?resourceVersion=0"), JSON, Value::Null).await;
        seen["status"]["used"].is_object().then_some(())
    })
    .await;
    let creates = (0..20).map(|n| {
        let server = servers[n % 2].clone();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}")}});
        tokio::spawn(async move { ask(&server, "POST", MAPS, JSON, map).await.0 })
    });
    let mut made = 0;
    for create in creates.collect::<Vec<_>>() {
        match create.await.unwrap() {
            201 => made += 1,
            code => assert_eq!(code, 403),
        }
    }
    assert_eq!(made, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_one_server_defines_the_others_serve() {
    let etcd = Etcd::start().unwrap();
    let (one, two) = (server(&etcd).await.0, server(&etcd).await.0);
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.x.y"},
        "spec": {"group": "x.y", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"}, "versions": [version]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(ask(&one, "POST", definitions, JSON, definition).await.0, 201);
    let foos = "/apis/x.y/v1/namespaces/default/foos";
    eventually(|| async { (ask(&two, "GET", foos, JSON, Value::Null).await.0 == 200).then_some(()) }).await;
    let foo = json!({"apiVersion": "x.y/v1", "kind": "Foo", "metadata": {"name": "a"}});
    assert_eq!(ask(&two, "POST", foos, JSON, foo).await.0, 201);
    eventually(|| async { (ask(&one, "GET", &format!("{foos}/a"), JSON, Value::Null).await.0 == 200).then_some(()) })
        .await;
    assert_eq!(ask(&one, "DELETE", &format!("{definitions}/foos.x.y"), JSON, Value::Null).await.0, 200);
    eventually(|| async { (ask(&two, "GET", foos, JSON, Value::Null).await.0 == 404).then_some(()) }).await;
}
