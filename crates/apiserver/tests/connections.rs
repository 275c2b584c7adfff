//! Connections over TLS: what hostile and slow clients can do, and how the server ends.

mod support;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ironclad_apiserver::Load;
use ironclad_auth::pki::{Pki, Subject};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

struct Served {
    port: u16,
    tls: ClientConfig,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _dir: TempDir,
}

async fn serve(load: Load) -> Served {
    ironclad_auth::install_crypto();
    let dir = TempDir::new().unwrap();
    let (server, _) = support::limited(&dir.path().join("store"), CancellationToken::new(), load).await;
    let pki = Pki::open_or_create(&dir.path().join("pki"), "test").unwrap();
    let serving = pki.issue("server", &Subject::server("server", "", vec!["127.0.0.1".into()])).unwrap();
    let client = pki.issue("client", &Subject::client("ann", "")).unwrap();
    let (tls, of_server) = (pki.client_tls(&client).unwrap(), pki.server_tls(&serving).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let token = stop.clone();
    let serving = tokio::spawn(async move { server.serve(listener, of_server, token).await });
    Served { port, tls: (*tls).clone(), stop, serving, _dir: dir }
}

impl Served {
    async fn connect(&self, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        TlsConnector::from(Arc::new(tls)).connect("127.0.0.1".try_into().unwrap(), stream).await
    }

    async fn client(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.connect(b"h2").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Whether the server still serves others, soon.
    async fn is_well(&self) {
        let asking = async { get(&mut self.client().await, "/readyz").await.status() };
        let code = tokio::time::timeout(Duration::from_secs(10), asking).await.expect("an answer in time");
        assert_eq!(code, 200);
    }

    /// Begins HTTP/2 by hand.
    async fn raw(&self) -> TlsStream<TcpStream> {
        let mut stream = self.connect(b"h2").await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(0x4, 0, 0, &[])).await.unwrap();
        stream
    }

    /// Sends the same bytes until the server has enough; whether it ended the connection.
    async fn flood(&self, first: &[u8], mut piece: impl FnMut(u32) -> Vec<u8>, most: u32) -> bool {
        let (mut read, mut write) = tokio::io::split(self.raw().await);
        let flooding = async {
            write.write_all(first).await?;
            for n in 0..most {
                write.write_all(&piece(n)).await?;
            }
            write.flush().await
        };
        let reading = async {
            let mut nothing = Vec::new();
            // What it says does not matter, only that it ends.
            read.read_to_end(&mut nothing).await
        };
        tokio::pin!(flooding, reading);
        tokio::select! {
            ended = &mut flooding => match ended {
                Err(_) => true,
                Ok(()) => tokio::time::timeout(Duration::from_millis(500), reading).await.is_ok(),
            },
            _ = &mut reading => true,
        }
    }
}

async fn get(client: &mut http2::SendRequest<Full<Bytes>>, path: &str) -> Response<Incoming> {
    let request = Request::builder().method(Method::GET).uri(format!("https://127.0.0.1{path}"));
    client.send_request(request.body(Full::default()).unwrap()).await.unwrap()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
const END_STREAM: u8 = 0x1;

/// `GET / https 127.0.0.1`, packed with the static table.
const HEAD: &[u8] = &[0x82, 0x84, 0x87, 0x01, 9, b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1'];

#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_44487_a_rapid_reset_ends_the_connection() {
    let served = serve(Load::default()).await;
    let piece = |n: u32| {
        let stream = n * 2 + 1;
        let mut out = frame(HEADERS, END_HEADERS | END_STREAM, stream, HEAD);
        out.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        out
    };
    assert!(served.flood(&[], piece, 200_000).await, "the connection goes on");
    served.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_27316_a_continuation_flood_ends_the_connection() {
    let served = serve(Load::default()).await;
    let first = frame(HEADERS, 0, 1, HEAD);
    // A literal header of 16 bytes, never indexed, again and again.
    let header = [&[0x10, 4][..], b"x-ab", &[8], b"12345678"].concat().repeat(500);
    assert!(served.flood(&first, |_| frame(CONTINUATION, 0, 1, &header), 20_000).await, "the connection goes on");
    served.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_9512_and_9515_floods_of_pings_and_settings_leave_others_alone() {
    let served = serve(Load::default()).await;
    // The flooding client reads, so that answers do not pile up; it gets nowhere but harms nobody.
    served.flood(&[], |_| frame(PING, 0, 0, b"abcdefgh"), 100_000).await;
    served.is_well().await;
    served.flood(&[], |_| frame(SETTINGS, 0, 0, &[]), 100_000).await;
    served.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_9517_a_client_that_takes_nothing_is_not_waited_for() {
    let served = serve(Load::default()).await;
    let mut stream = served.raw().await;
    // Windows of nothing: answers cannot be sent.
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    for n in 0..500u32 {
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, n * 2 + 1, HEAD)).await.unwrap();
    }
    served.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed_are_refused() {
    let served = serve(Load { http2_max_streams: 3, ..Load::default() }).await;
    let mut stream = served.raw().await;
    // Heads without an end: each stays open.
    for n in 0..5u32 {
        let mut head = frame(HEADERS, END_HEADERS, n * 2 + 1, &[&[0x83], &HEAD[1..]].concat());
        stream.write_all(&std::mem::take(&mut head)).await.unwrap();
    }
    let (mut seen, mut buffer) = (Vec::new(), [0u8; 4096]);
    let refused = |bytes: &[u8]| bytes.windows(13).any(|w| w[3] == RST_STREAM && w[..3] == [0, 0, 4] && w[12] == 7);
    while !refused(&seen) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await.expect("a refusal");
        match read.unwrap_or(0) {
            0 => break,
            n => seen.extend_from_slice(&buffer[..n]),
        }
    }
    served.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_not_waited_for() {
    let served = serve(Load { header_timeout: Duration::from_millis(300), ..Load::default() }).await;
    let beginnings: [(&[u8], &[u8]); 4] =
        [(b"http/1.1", b""), (b"http/1.1", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "), (b"h2", b""), (b"h2", b"PRI * HTT")];
    for (protocol, beginning) in beginnings {
        let mut stream = served.connect(protocol).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{:?} {:?}", String::from_utf8_lossy(protocol), String::from_utf8_lossy(beginning));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_urls_have_a_limit() {
    let served = serve(Load::default()).await;
    let mut stream = served.connect(b"http/1.1").await.unwrap();
    let long = format!("GET /version?x={} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(4 << 20));
    // It may be told before all is sent, or cut off while it sends.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    assert!(line.is_empty() || line.contains("414") || line.contains("431"), "{line}");
    let mut client = served.client().await;
    let request = Request::builder().uri("https://127.0.0.1/version").header("x-long", "y".repeat(2 << 20));
    if let Ok(response) = client.send_request(request.body(Full::default()).unwrap()).await {
        assert_eq!(response.status(), 431);
    }
    served.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_at_once() {
    let served = serve(Load::default()).await;
    let mut client = served.client().await;
    let lol = (0..12).fold("a: &x0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned(), |text, n| {
        let list = vec![format!("*x{n}"); 9].join(",");
        format!("{text}b{n}: &x{} [{list}]\n", n + 1)
    });
    let deep = format!("{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"data\":{}", "[".repeat(1_000_000));
    let cases =
        [("application/json", deep.clone()), ("application/yaml", lol), ("application/yaml", "[".repeat(1 << 20))];
    for (kind, body) in cases {
        let request = Request::builder()
            .method("POST")
            .uri("https://127.0.0.1/api/v1/namespaces/default/configmaps")
            .header("content-type", kind)
            .body(Full::from(body))
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), client.send_request(request)).await;
        let response = answer.expect("an answer in time").unwrap();
        assert_eq!(response.status(), 400, "{kind}");
    }
    served.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_end_the_server_is_first_not_ready_and_then_drains_watches() {
    let served = serve(Load { shutdown_delay: Duration::from_millis(400), ..Load::default() }).await;
    let mut client = served.client().await;
    let mut watch = get(&mut client, "/api/v1/configmaps?watch=1&resourceVersion=0").await.into_body();
    assert_eq!(get(&mut client, "/readyz").await.status(), 200);
    served.stop.cancel();
    let ready = async {
        loop {
            let answer = get(&mut client, "/readyz?verbose").await;
            if answer.status() == 500 {
                break String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(5), ready).await.expect("it is not ready any more");
    assert!(text.contains("[-]shutdown failed: reason withheld"), "{text}");
    // For as long as the delay it goes on serving, also those who come anew.
    assert_eq!(get(&mut served.client().await, "/livez").await.status(), 200);
    assert_eq!(get(&mut client, "/api/v1/namespaces/default").await.status(), 200);
    let ended = async { while watch.frame().await.is_some_and(|f| f.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the watch ends");
    tokio::time::timeout(Duration::from_secs(5), served.serving).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(("127.0.0.1", served.port)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_to_connect_anew_by_chance() {
    let served = serve(Load { goaway_chance: 1.0, ..Load::default() }).await;
    let mut client = served.client().await;
    assert_eq!(get(&mut client, "/version").await.status(), 200, "what it asked is answered");
    let closed = async {
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("the connection takes no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_head_is_that_to_get_without_its_body() {
    let served = serve(Load::default()).await;
    let mut client = served.client().await;
    let full = get(&mut client, "/nowhere").await;
    let request = Request::builder().method(Method::HEAD).uri("https://127.0.0.1/nowhere");
    let head = client.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(head.status(), full.status());
    assert!(head.headers()["content-length"] != "0");
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
    served.is_well().await;
}
