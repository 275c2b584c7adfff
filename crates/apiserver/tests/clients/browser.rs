//! What a browser can do: watch over WebSocket.

use super::Cluster;
use futures::StreamExt;
use ironclad_json::{Value, json};
use ironclad_schema::{bundle, proto};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

async fn open(cluster: &Cluster, accept: &str) -> WebSocketStream<TlsStream<TcpStream>> {
    let address = cluster.url.strip_prefix("https://").unwrap();
    let mut tls = cluster.tls.clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
    let url = format!("wss://{address}/api/v1/namespaces?watch=1&fieldSelector=metadata.name=default");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("accept", accept.parse().unwrap());
    client_async(request, stream).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_websocket_has_a_message_for_each_event() {
    let cluster = Cluster::start().await;
    let mut text = open(&cluster, "application/json").await;
    let Message::Text(event) = text.next().await.unwrap().unwrap() else { panic!("JSON is text") };
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("default")));
    text.close(None).await.unwrap();

    let mut binary = open(&cluster, "application/vnd.kubernetes.protobuf;stream=watch").await;
    let Message::Binary(event) = binary.next().await.unwrap().unwrap() else { panic!("protobuf is binary") };
    assert_eq!(&event[..7], b"\x0a\x05ADDED");
    let start = event.windows(4).position(|w| w == b"k8s\0").unwrap();
    assert_eq!(proto::decode(bundle(), &event[start..]).unwrap()["kind"], "Namespace");
    cluster.end().await;
}
