//! Proxies on the way to other servers, with real sockets.

use ironclad_remote::Egress;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};

/// Answers one CONNECT with `status`, then echoes what comes; returns what was asked for.
async fn answer(mut stream: impl ironclad_remote::Wire + 'static, status: &'static str) -> String {
    let mut asked = String::new();
    let mut reader = BufReader::new(&mut stream);
    reader.read_line(&mut asked).await.unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).await.unwrap();
    }
    stream.write_all(format!("HTTP/1.1 {status}\r\nX: y\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = [0; 4];
    if stream.read_exact(&mut bytes).await.is_ok() {
        stream.write_all(&bytes).await.unwrap();
    }
    asked.trim().to_owned()
}

fn egress(dir: &Path, transport: &str) -> Egress {
    let file = dir.join("egress.yaml");
    let text = format!(
        "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n- name: cluster\n  connection: {{proxyProtocol: HTTPConnect, transport: {transport}}}\n"
    );
    std::fs::write(&file, text).unwrap();
    Egress::read(&file).unwrap()
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_address_and_carries_what_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("proxy.sock");
    let (unix, tcp) = (UnixListener::bind(&socket).unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("{{tcp: {{url: 'http://{}'}}}}", tcp.local_addr().unwrap());
    let unix = tokio::spawn(async move { answer(unix.accept().await.unwrap().0, "200 OK").await });
    let tcp = tokio::spawn(async move { answer(tcp.accept().await.unwrap().0, "200 Connection established").await });
    let transports = [(format!("{{uds: {{udsName: {}}}}}", socket.display()), unix), (url, tcp)];
    for (transport, proxy) in transports {
        let egress = egress(dir.path(), &transport);
        assert!(egress.control_plane.is_direct());
        // Nobody resolves the name here: that is the proxy's to do.
        let mut stream = egress.cluster.dial("kubelet.invalid", 10250).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping");
        assert_eq!(proxy.await.unwrap(), "CONNECT kubelet.invalid:10250 HTTP/1.1");
    }
    let counted = ironclad_remote::metrics();
    assert!(counted.contains("dial_start_total{protocol=\"http-connect\",transport=\"uds\"} 1"), "{counted}");
}

#[tokio::test]
async fn what_a_proxy_refuses_is_said_and_nothing_goes_straight() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = tokio::spawn(async move { answer(listener.accept().await.unwrap().0, "403 Forbidden").await });
    let egress = egress(dir.path(), &format!("{{tcp: {{url: 'http://{address}'}}}}"));
    let error = egress.cluster.dial("127.0.0.1", 1).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("proxy error from {address} while dialing 127.0.0.1:1, code 403: 403 Forbidden")
    );
    proxy.await.unwrap();
    let error = egress.cluster.dial("127.0.0.1", 1).await.err().unwrap();
    assert_eq!(error.to_string(), format!("dial tcp {address}: connect: connection refused"));
}
