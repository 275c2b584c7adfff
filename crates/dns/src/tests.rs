//! Questions over real sockets.

use crate::answer::Resolver;
use crate::server::Listeners;
use crate::zone::Zone;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use ironclad_client::ObjectKey;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

fn put(zone: &Zone, name: &str, spec: Value, slice: Value) {
    let service: Service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    let slices: Vec<Arc<EndpointSlice>> =
        if slice.is_null() { vec![] } else { vec![Arc::new(serde_json::from_value(slice).unwrap())] };
    zone.set(&ObjectKey::new("default", name), crate::record(&service, &slices));
}

fn zone() -> Arc<Zone> {
    let zone = Zone::new("cluster.local").unwrap();
    zone.set_namespace("default", true);
    let ports = json!([{"name": "http", "port": 80}]);
    put(&zone, "web", json!({"clusterIP": "10.96.0.20", "ports": ports}), Value::Null);
    let slice = |endpoints| {
        json!({"metadata": {"name": "db-1"}, "addressType": "IPv4",
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}], "endpoints": endpoints})
    };
    let two = json!([{"addresses": ["10.244.0.5"], "hostname": "db-0"}, {"addresses": ["10.244.0.6"]},
        {"addresses": ["10.244.0.7"], "conditions": {"ready": false}}]);
    put(&zone, "db", json!({"clusterIP": "None"}), slice(two));
    let many: Vec<Value> = (1..200).map(|i| json!({"addresses": [format!("10.244.1.{i}")]})).collect();
    put(&zone, "many", json!({"clusterIP": "None"}), slice(Value::from(many)));
    put(&zone, "out", json!({"type": "ExternalName", "externalName": "example.com"}), Value::Null);
    let alias = json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"});
    put(&zone, "alias", alias, Value::Null);
    Arc::new(zone)
}

/// A resolver that says 192.0.2.7 to everything.
async fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            let data = hickory_proto::rr::RData::A("192.0.2.7".parse().unwrap());
            let name = message.queries[0].name().clone();
            message.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
            socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

async fn start(zone: Arc<Zone>) -> (SocketAddr, CancellationToken) {
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, token) = (listeners.address(), CancellationToken::new());
    let resolver = Arc::new(Resolver::new(zone, vec![upstream().await]));
    tokio::spawn(listeners.serve(resolver, token.clone()));
    (address, token)
}

fn question(name: &str, kind: RecordType, payload: u16) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if payload > 0 {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(name, kind, 1232), server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    let message = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(message.metadata.id, 7);
    message
}

async fn told(server: SocketAddr, name: &str, kind: RecordType) -> Vec<String> {
    let message = ask(server, name, kind).await;
    let mut all: Vec<String> = message.answers.iter().map(|r| r.data.to_string()).collect();
    all.sort();
    if all.is_empty() {
        let soa = message.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
        all.push(format!("{:?} soa={soa}", message.metadata.response_code));
    }
    all
}

#[tokio::test]
async fn names_are_answered_as_the_specification_says() {
    let (server, token) = start(zone()).await;
    let table: &[(&str, RecordType, &[&str])] = &[
        ("web.default.svc.cluster.local.", RecordType::A, &["10.96.0.20"]),
        ("WEB.Default.svc.cluster.local.", RecordType::A, &["10.96.0.20"]),
        ("web.default.svc.cluster.local.", RecordType::AAAA, &["NoError soa=true"]),
        ("_http._tcp.web.default.svc.cluster.local.", RecordType::SRV, &["0 100 80 web.default.svc.cluster.local."]),
        ("_http._udp.web.default.svc.cluster.local.", RecordType::SRV, &["NXDomain soa=true"]),
        ("20.0.96.10.in-addr.arpa.", RecordType::PTR, &["web.default.svc.cluster.local."]),
        ("db.default.svc.cluster.local.", RecordType::A, &["10.244.0.5", "10.244.0.6"]),
        ("db-0.db.default.svc.cluster.local.", RecordType::A, &["10.244.0.5"]),
        ("10-244-0-6.db.default.svc.cluster.local.", RecordType::A, &["10.244.0.6"]),
        ("5.0.244.10.in-addr.arpa.", RecordType::PTR, &["db-0.db.default.svc.cluster.local."]),
        (
            "_sql._tcp.db.default.svc.cluster.local.",
            RecordType::SRV,
            &["0 50 5432 10-244-0-6.db.default.svc.cluster.local.", "0 50 5432 db-0.db.default.svc.cluster.local."],
        ),
        ("10-244-0-9.default.pod.cluster.local.", RecordType::A, &["10.244.0.9"]),
        ("10-244-0-9.nowhere.pod.cluster.local.", RecordType::A, &["NXDomain soa=true"]),
        ("none.default.svc.cluster.local.", RecordType::A, &["NXDomain soa=true"]),
        ("default.svc.cluster.local.", RecordType::A, &["NoError soa=true"]),
        ("nowhere.svc.cluster.local.", RecordType::A, &["NXDomain soa=true"]),
        ("out.default.svc.cluster.local.", RecordType::A, &["192.0.2.7", "example.com."]),
        ("out.default.svc.cluster.local.", RecordType::CNAME, &["example.com."]),
        ("alias.default.svc.cluster.local.", RecordType::A, &["10.96.0.20", "web.default.svc.cluster.local."]),
        ("example.org.", RecordType::A, &["192.0.2.7"]),
        ("dns-version.cluster.local.", RecordType::TXT, &["1.1.0"]),
    ];
    for (name, kind, expected) in table {
        assert_eq!(told(server, name, *kind).await, *expected, "{name} {kind}");
    }
    token.cancel();
}

#[tokio::test]
async fn long_answers_are_cut_by_udp_and_whole_by_tcp() {
    let (server, token) = start(zone()).await;
    let name = "many.default.svc.cluster.local.";
    let cut = ask(server, name, RecordType::A).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let mut stream = TcpStream::connect(server).await.unwrap();
    let bytes = question(name, RecordType::A, 0);
    for _ in 0..2 {
        stream.write_u16(bytes.len() as u16).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 199);
    }
    token.cancel();
}

#[tokio::test]
async fn a_change_is_seen_and_rubbish_is_survived() {
    let zone = zone();
    let (server, token) = start(zone.clone()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&[0xff; 40], server).await.unwrap();
    zone.set(&ObjectKey::new("default", "web"), None);
    let gone = ask(server, "web.default.svc.cluster.local.", RecordType::A).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    assert!(zone.owners("10.96.0.20".parse().unwrap()).is_empty());
    token.cancel();
}

#[test]
fn the_quick_way_says_what_the_long_one_says() {
    let resolver = Resolver::new(zone(), vec![]);
    let names = [
        "web.default",
        "WEB.default",
        "db.default",
        "db-0.db.default",
        "many.default",
        "out.default",
        "none.default",
        "web.nowhere",
        "default",
        "_http._tcp.web.default",
        "a.b.c.d.e.f.web.default",
    ];
    let mut quick = 0;
    for (name, zone) in
        names.iter().flat_map(|n| ["svc.cluster.local.", "pod.Cluster.Local.", "svc.example.com."].map(|z| (n, z)))
    {
        for (kind, payload) in
            [(RecordType::A, 0), (RecordType::A, 1232), (RecordType::AAAA, 4096), (RecordType::TXT, 0)]
        {
            let bytes = question(&format!("{name}.{zone}"), kind, payload);
            let mut reply = Vec::new();
            let Some(done) = crate::quick::answer(resolver.zone(), &bytes, &mut reply) else { continue };
            let said = Message::from_vec(&reply).unwrap();
            let long = resolver.at_once(&Message::from_vec(&bytes).unwrap()).unwrap();
            assert_eq!(done.no_such_name, long.metadata.response_code == ResponseCode::NXDomain);
            let sorted = |mut message: Message| {
                message.answers.sort_by_key(|r| r.data.to_string());
                message
            };
            assert_eq!(
                sorted(said),
                sorted(Message::from_vec(&long.to_vec().unwrap()).unwrap()),
                "{name}.{zone} {kind}"
            );
            quick += 1;
        }
    }
    assert!(quick > 30, "{quick}");
}

#[test]
fn rubbish_is_left_to_others() {
    let zone = zone();
    let whole = question("web.default.svc.cluster.local.", RecordType::A, 1232);
    let mut reply = Vec::new();
    assert!(crate::quick::answer(&zone, &whole, &mut reply).is_some());
    for length in 0..whole.len() {
        assert!(crate::quick::answer(&zone, &whole[..length], &mut reply).is_none(), "{length}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            // Whatever it is, it is answered with a message or left.
            if crate::quick::answer(&zone, &bytes, &mut reply).is_some() {
                assert!(Message::from_vec(&reply).is_ok(), "{at} {bit}");
            }
        }
    }
}
