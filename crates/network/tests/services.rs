//! Services on a real kernel: spreading, affinity, node ports, hairpin, refusal, change, deletion.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Netns, get, nft_list, on_a_node, runtime};
use ironclad_client::ObjectKey;
use ironclad_cri::{Attachment, PodNetwork as _};
use ironclad_network::pod::{Config, PodNetwork};
use ironclad_network::proxy::applier::Applier;
use ironclad_network::proxy::model::{Place, ServicePort, service_ports};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

fn place() -> Place {
    Place { node: "n1".into(), zone: String::new(), pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()] }
}

fn service(name: &str, spec: Value, endpoints: Value) -> (ObjectKey, Vec<ServicePort>) {
    let object = json!({"metadata": {"namespace": "d", "name": name}, "spec": spec});
    let service = serde_json::from_value(object).unwrap();
    let port = &spec_port(&service);
    let slice = json!({"metadata": {"namespace": "d", "name": name}, "addressType": "IPv4",
        "ports": [{"port": port.1, "protocol": port.0}], "endpoints": endpoints});
    let slice = Arc::new(serde_json::from_value(slice).unwrap());
    (ObjectKey::new("d", name), service_ports(&service, &[slice], &place()))
}

fn spec_port(service: &k8s_openapi::api::core::v1::Service) -> (String, i32) {
    let port = &service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0];
    (port.protocol.clone().unwrap_or("TCP".into()), 8080)
}

fn endpoints(ips: &[&str]) -> Value {
    ips.iter().map(|ip| json!({"addresses": [ip], "nodeName": "n1", "conditions": {"ready": true}})).collect()
}

fn names(address: &str) -> BTreeSet<String> {
    (0..24).map(|_| get(address).unwrap().split(' ').next().unwrap().to_owned()).collect()
}

struct World {
    _network: PodNetwork,
    _state: tempfile::TempDir,
    pods: Vec<Netns>,
}

fn world() -> World {
    let state = tempfile::tempdir().unwrap();
    let network = PodNetwork::new(Config {
        cluster: "t".into(),
        directory: state.path().join("n"),
        cluster_cidrs: place().pod_cidrs,
        mtu: None,
    });
    let network = network.unwrap();
    let pods: Vec<Netns> = (0..3).map(|_| Netns::new()).collect();
    runtime().block_on(async {
        network.set_pod_cidrs(&["10.244.0.0/24".into()]).await.unwrap();
        for (i, pod) in pods.iter().enumerate() {
            let attachment = Attachment { sandbox_id: format!("s{i}"), ..Attachment::default() };
            network.attach(&attachment, pod.path()).await.unwrap();
            pod.serve(8080, ["a", "b", "c"][i]);
        }
    });
    World { _network: network, _state: state, pods }
}

#[test]
fn services_spread_change_refuse_and_go() {
    on_a_node(|| {
        let world = world();
        let mut applier = Applier::open("t").unwrap();
        let spec = json!({"clusterIP": "10.96.0.20", "ports": [{"port": 80, "nodePort": 30080}], "type": "NodePort"});
        let two = service("web", spec.clone(), endpoints(&["10.244.0.2", "10.244.0.3"]));
        applier.replace(vec![two.clone()], &place()).unwrap();
        let both: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        assert_eq!(names("10.96.0.20:80"), both);
        assert_eq!(names("192.0.2.1:30080"), both);
        assert_eq!(names("127.0.0.1:30080"), both);
        assert_eq!(world.pods[2].inside(|| names("10.96.0.20:80")), both);
        assert_eq!(world.pods[2].inside(|| get("10.96.0.20:80")).unwrap().split(' ').nth(1), Some("10.244.0.4"));
        // A pod reaches itself.
        assert_eq!(world.pods[0].inside(|| names("10.96.0.20:80")), both);
        assert_eq!(world.pods[0].inside(|| names("192.0.2.1:30080")), both);
        applier.update(vec![service("web", spec.clone(), endpoints(&["10.244.0.4"]))], &place()).unwrap();
        assert_eq!(names("10.96.0.20:80"), ["c".to_owned()].into());
        applier.update(vec![service("web", spec.clone(), endpoints(&[]))], &place()).unwrap();
        for from in ["10.96.0.20:80", "192.0.2.1:30080"] {
            assert_eq!(get(from).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{from}");
        }
        let refused = world.pods[0].inside(|| get("10.96.0.20:80")).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // A new process takes the table over.
        let mut applier = Applier::open("t").unwrap();
        applier.replace(vec![two.clone()], &place()).unwrap();
        assert_eq!(names("10.96.0.20:80"), both);
        // Another Service with the same address gets it when the first goes.
        let twin = service("twin", spec, endpoints(&["10.244.0.4"]));
        applier.update(vec![twin], &place()).unwrap();
        assert_eq!(names("10.96.0.20:80"), both);
        applier.update(vec![(two.0, vec![])], &place()).unwrap();
        assert_eq!(names("10.96.0.20:80"), ["c".to_owned()].into());
        applier.update(vec![(ObjectKey::new("d", "twin"), vec![])], &place()).unwrap();
        let left = nft_list();
        assert!(!left.contains("c-") && !left.contains("10.96.0.20"), "{left}");
    });
}

#[test]
fn clients_stay_with_their_endpoint_while_it_lives() {
    on_a_node(|| {
        let world = world();
        let mut applier = Applier::open("t").unwrap();
        let spec = json!({"clusterIP": "10.96.0.21", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]});
        let all = ["10.244.0.2", "10.244.0.3", "10.244.0.4"];
        applier.replace(vec![service("s", spec.clone(), endpoints(&all))], &place()).unwrap();
        let first = world.pods[0].inside(|| names("10.96.0.21:80"));
        assert_eq!(first.len(), 1);
        let index = ["a", "b", "c"].iter().position(|n| first.contains(*n)).unwrap();
        let others: Vec<&str> = all.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, ip)| *ip).collect();
        // Another endpoint leaves: nothing changes. Its own leaves: it gets a new one and stays there.
        applier.update(vec![service("s", spec.clone(), endpoints(&[all[index], others[0]]))], &place()).unwrap();
        assert_eq!(world.pods[0].inside(|| names("10.96.0.21:80")), first);
        applier.update(vec![service("s", spec, endpoints(&others))], &place()).unwrap();
        let second = world.pods[0].inside(|| names("10.96.0.21:80"));
        assert!(second.len() == 1 && second != first);
    });
}

#[test]
fn local_policies_use_the_nodes_endpoints_only() {
    on_a_node(|| {
        let _world = world();
        let mut applier = Applier::open("t").unwrap();
        let spec = json!({"clusterIP": "10.96.0.22", "type": "NodePort", "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30081}]});
        let far = json!({"addresses": ["10.244.0.2"], "nodeName": "n2"});
        let near = json!({"addresses": ["10.244.0.3"], "nodeName": "n1"});
        applier.replace(vec![service("l", spec.clone(), json!([far, near]))], &place()).unwrap();
        assert_eq!(names("10.96.0.22:80"), ["b".to_owned()].into());
        // The host itself may use all, as pods may.
        assert_eq!(names("192.0.2.1:30081"), ["a".to_owned(), "b".to_owned()].into());
        applier.update(vec![service("l", spec, json!([far]))], &place()).unwrap();
        assert_eq!(get("10.96.0.22:80").unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn udp_clients_leave_an_endpoint_that_is_gone() {
    on_a_node(|| {
        let world = world();
        for (pod, name) in world.pods.iter().zip(["a", "b", "c"]) {
            let socket = pod.inside(|| UdpSocket::bind("0.0.0.0:8080").unwrap());
            std::thread::spawn(move || {
                let mut buffer = [0; 16];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            });
        }
        let mut applier = Applier::open("t").unwrap();
        let spec = json!({"clusterIP": "10.96.0.23", "ports": [{"port": 53, "protocol": "UDP"}]});
        applier.replace(vec![service("u", spec.clone(), endpoints(&["10.244.0.2"]))], &place()).unwrap();
        let socket = world.pods[2].inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let ask = || {
            let mut buffer = [0; 16];
            socket.send_to(b"?", "10.96.0.23:53").unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(ask(), "a");
        applier.update(vec![service("u", spec, endpoints(&["10.244.0.3"]))], &place()).unwrap();
        assert_eq!(ask(), "b");
    });
}

/// A table of many Services, and the milliseconds of each of 200 changes of one endpoint, sorted.
fn change_among(count: usize) -> Vec<f64> {
    let mut applier = Applier::open("t").unwrap();
    let spec = |i: usize| {
        let ip = format!("10.{}.{}.{}", 97 + i / 50_000, i / 200 % 250, i % 200 + 1);
        json!({"clusterIP": ip, "ports": [{"port": 80}]})
    };
    let one = |i: usize, ips: &[&str]| service(&format!("s{i}"), spec(i), endpoints(ips));
    let all = (0..count).map(|i| one(i, &["10.244.0.2", "10.244.0.3"])).collect();
    let started = std::time::Instant::now();
    applier.replace(all, &place()).unwrap();
    eprintln!("{count} services in {:?}", started.elapsed());
    let change = |i: usize| {
        let wanted = vec![one(i * 7 % count, &["10.244.0.2", "10.244.0.4"])];
        let started = std::time::Instant::now();
        applier.update(wanted, &place()).unwrap();
        started.elapsed().as_secs_f64() * 1000.0
    };
    let mut times: Vec<f64> = (0..200).map(change).collect();
    times.sort_by(f64::total_cmp);
    times
}

#[test]
fn one_endpoint_changes_among_many_services() {
    on_a_node(|| {
        change_among(1_000);
        assert!(nft_list().contains("10.244.0.4"));
    });
}

#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn measure_one_endpoint_among_ten_thousand_services() {
    on_a_node(|| {
        let times = change_among(10_000);
        eprintln!("one endpoint: p50 {:.2} ms, p99 {:.2} ms", times[100], times[197]);
    });
}

#[test]
fn the_proxy_can_be_spawned() {
    use ironclad_network::proxy;
    type Run<F> = fn(ironclad_client::Informers, proxy::Config, tokio_util::sync::CancellationToken) -> F;
    fn spawnable<F: Future + Send + 'static>(_: Run<F>) {}
    spawnable(proxy::run);
}
