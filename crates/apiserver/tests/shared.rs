//! Several servers on one etcd give out addresses and ports of Services: nothing twice, and nothing is lost.

mod support;

use ironclad_apiserver::{ApiServer, StockCodec};
use ironclad_json::{Value, json};
use ironclad_store::{Change, EtcdOptions, EtcdStore, Expect, Op, Store, Tls};
use ironclad_testkit::Etcd;
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{JSON, ask, narrow};
use tokio_util::sync::CancellationToken;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
/// So few that servers meet.
const PORTS: (u16, u16) = (30000, 30031);

async fn server(etcd: &Etcd) -> (ApiServer, Arc<EtcdStore>) {
    let options = EtcdOptions {
        servers: vec![etcd.url()],
        tls: Tls::default(),
        prefix: ("/registry".to_owned(), "/registry".to_owned()),
        codec: Arc::new(StockCodec::default()),
        transform: None,
    };
    let store = Arc::new(EtcdStore::open(options).await.unwrap());
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
