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
        assert!(!left.contains("10.244.0.4 . 8080") && !left.contains("10.96.0.20"), "{left}");
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
fn source_ranges_and_affinity_hold_at_every_door() {
    on_a_node(|| {
        let world = world();
        let mut applier = Applier::open("t").unwrap();
        let spec = |ranges: &[&str]| {
            json!({"clusterIP": "10.96.0.24", "type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "sessionAffinity": "ClientIP", "ports": [{"port": 80, "nodePort": 30082}],
                "loadBalancerSourceRanges": ranges, "externalIPs": ["198.51.100.8"]})
        };
        let all = endpoints(&["10.244.0.2", "10.244.0.3", "10.244.0.4"]);
        let balanced = |ranges: &[&str]| {
            let (key, mut ports) = service("b", spec(ranges), all.clone());
            ports.iter_mut().for_each(|p| p.load_balancer_ips = vec!["198.51.100.7".parse().unwrap()]);
            vec![(key, ports)]
        };
        applier.replace(balanced(&["10.244.0.2/32"]), &place()).unwrap();
        let doors = ["198.51.100.7:80", "198.51.100.8:80", "10.96.0.24:80", "192.0.2.1:30082"];
        let seen: BTreeSet<String> = doors.iter().flat_map(|door| world.pods[0].inside(|| names(door))).collect();
        // The entries of clients are shared by the doors of a port.
        assert_eq!(seen.len(), 1);
        assert_eq!(world.pods[1].inside(|| get(doors[0])).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert!(world.pods[1].inside(|| get(doors[1])).is_ok());
        // Who lists the table sees no complaint, and what the rules are for.
        assert!(nft_list().contains("where this client went before"));
        applier.update(balanced(&["192.0.2.0/24", "10.244.0.3/32"]), &place()).unwrap();
        assert_eq!(world.pods[0].inside(|| get(doors[0])).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert!(world.pods[1].inside(|| get(doors[0])).is_ok());
        applier.update(balanced(&[]), &place()).unwrap();
        assert!(world.pods[0].inside(|| get(doors[0])).is_ok());
    });
}

#[test]
fn no_connection_is_lost_while_endpoints_change() {
    on_a_node(|| {
        let world = world();
        let mut applier = Applier::open("t").unwrap();
        let spec = json!({"clusterIP": "10.96.0.25", "ports": [{"port": 80}]});
        let sets: [&[&str]; 4] = [
            &["10.244.0.2", "10.244.0.3", "10.244.0.4"],
            &["10.244.0.3"],
            &["10.244.0.2", "10.244.0.4"],
            &["10.244.0.4", "10.244.0.3"],
        ];
        let one = |i: usize| vec![service("c", spec.clone(), endpoints(sets[i % 4]))];
        applier.replace(one(0), &place()).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let count = (0..2000).filter(|_| world.pods[0].inside(|| get("10.96.0.25:80")).is_ok()).count();
                done.store(true, std::sync::atomic::Ordering::Relaxed);
                count
            });
            for i in 1.. {
                applier.update(one(i), &place()).unwrap();
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
            assert_eq!(client.join().unwrap(), 2000);
        });
    });
}

#[test]
fn chains_of_former_counts_go() {
    on_a_node(|| {
        let mut applier = Applier::open("t").unwrap();
        let spec = json!({"clusterIP": "10.96.0.26", "ports": [{"port": 80}]});
        let ips: Vec<String> = (1..=200).map(|i| format!("10.244.0.{i}")).collect();
        let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
        applier.replace(vec![service("n", spec.clone(), endpoints(&ips))], &place()).unwrap();
        for count in (1..=200).rev() {
            applier.update(vec![service("n", spec.clone(), endpoints(&ips[..count]))], &place()).unwrap();
        }
        let chains = nft_list().matches("chain way-").count();
        assert!(chains < 70, "{chains}");
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

#[test]
fn one_endpoint_changes_among_many_services() {
    on_a_node(|| {
        let mut applier = Applier::open("t").unwrap();
        let one = |i: usize, ips: &[&str]| {
            let spec = json!({"clusterIP": format!("10.97.{}.{}", i / 200, i % 200 + 1), "ports": [{"port": 80}]});
            service(&format!("s{i}"), spec, endpoints(ips))
        };
        applier.replace((0..1000).map(|i| one(i, &["10.244.0.2", "10.244.0.3"])).collect(), &place()).unwrap();
        applier.update(vec![one(7, &["10.244.0.2", "10.244.0.4"])], &place()).unwrap();
        assert_eq!(nft_list().matches("10.244.0.4 . 8080").count(), 1);
    });
}

#[test]
fn the_other_family_is_served_alike() {
    on_a_node(|| {
        let mut applier = Applier::open("t").unwrap();
        common::ip(&["-6", "addr", "add", "2001:db8::1/64", "dev", "up0", "nodad"]);
        common::ip(&["-6", "route", "add", "default", "via", "2001:db8::2", "dev", "up0"]);
        for (port, name) in [(8080, "a"), (8081, "b")] {
            common::serve(std::net::TcpListener::bind(("2001:db8::1", port)).unwrap(), name);
        }
        // The kernel makes the route to an address of its own after the address, when it comes to it.
        assert!((0..10).any(|_| get("[2001:db8::1]:8080").is_ok()), "the node reaches itself");
        let spec = |affinity: &str| {
            json!({"clusterIPs": ["fd00:96::1"], "type": "NodePort", "externalTrafficPolicy": "Local",
                "sessionAffinity": affinity, "ports": [{"port": 80, "nodePort": 30083}]})
        };
        let slice = |name: &str, port: u16| {
            json!({"metadata": {"name": name}, "addressType": "IPv6", "ports": [{"port": port}],
                "endpoints": [{"addresses": ["2001:db8::1"], "nodeName": "n1"}]})
        };
        let slices = [slice("x", 8080), slice("y", 8081)].map(|s| Arc::new(serde_json::from_value(s).unwrap()));
        let ports = |affinity: &str| {
            let object = json!({"metadata": {"namespace": "d", "name": "six"}, "spec": spec(affinity)});
            let ports = service_ports(&serde_json::from_value(object).unwrap(), &slices, &place());
            vec![(ObjectKey::new("d", "six"), ports)]
        };
        applier.replace(ports("None"), &place()).unwrap();
        for door in ["[fd00:96::1]:80", "[2001:db8::1]:30083"] {
            assert_eq!(names(door), ["a".to_owned(), "b".to_owned()].into(), "{door}");
        }
        applier.update(ports("ClientIP"), &place()).unwrap();
        for door in ["[fd00:96::1]:80", "[2001:db8::1]:30083"] {
            assert_eq!(names(door).len(), 1, "{door}");
        }
        assert!(nft_list().contains("fd00:96::1"));
    });
}
