//! Real sockets: an HTTP server that upgrades, and clients of both transports.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ironclad_streaming::spdy::{Role, Session};
use ironclad_streaming::{Relay, TerminalSize, Wanted, exit_status, port_forward, relay, remote_command, tunnelled};
use serde_json::Value;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol};

type Answer = Response<Empty<Bytes>>;

/// Exec echoes stdin to stdout, says the first size on stderr, and ends with 3; a port echoes.
async fn answer(mut request: Request<Incoming>) -> Result<Answer, std::convert::Infallible> {
    let refused = |e: ironclad_streaming::Error| {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = e.status();
        response
    };
    if request.uri().path().starts_with("/relayed/") {
        return Ok(relayed(request).map(|()| Empty::new()));
    }
    if request.uri().path() == "/portForward" {
        return Ok(match port_forward(&mut request) {
            Err(error) => refused(error),
            Ok((response, forwards)) => {
                tokio::spawn(async move {
                    let mut forwards = forwards.await.unwrap();
                    while let Ok(Some(mut forward)) = forwards.next().await {
                        tokio::spawn(async move {
                            if forward.port == 81 {
                                forward.error.write_all(b"refused").await.unwrap();
                                return;
                            }
                            tokio::io::copy(&mut forward.read, &mut forward.write).await.unwrap();
                        });
                    }
                    forwards.finish().await;
                });
                response.map(|()| Empty::new())
            }
        });
    }
    let wanted = Wanted::from_query(request.uri().query().unwrap_or_default()).unwrap();
    Ok(match remote_command(&mut request, wanted) {
        Err(error) => refused(error),
        Ok((response, command)) => {
            tokio::spawn(async move {
                let mut command = command.await.unwrap();
                let (mut stdin, mut stdout) = (command.stdin.take().unwrap(), command.stdout.take().unwrap());
                if let Some(sizes) = &mut command.resize {
                    assert_eq!(sizes.recv().await.unwrap(), TerminalSize { width: 80, height: 24 });
                }
                tokio::io::copy(&mut stdin, &mut stdout).await.unwrap();
                drop(stdout);
                command.finish(&exit_status(3)).await.unwrap();
            });
            response.map(|()| Empty::new())
        }
    })
}

/// Passes a client over WebSocket on to another server over SPDY, as API servers do for kubelets that know no other.
fn relayed(mut request: Request<Incoming>) -> Response<()> {
    let kind = Relay::of(request.headers()).unwrap();
    let asked: Vec<(String, String)> =
        kind.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
    let path = request.uri().path_and_query().unwrap().as_str().replace("/relayed", "");
    // Boxed, for the other server's answers are made by the same function.
    let server: std::pin::Pin<Box<dyn Future<Output = hyper::upgrade::Upgraded> + Send>> = Box::pin(async move {
        let asked: Vec<(&str, &str)> = asked.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        connect(&path, &asked).await.1.unwrap()
    });
    let wanted = Wanted::from_query(request.uri().query().unwrap_or_default());
    match kind {
        Relay::Command => {
            let (response, opening) = remote_command(&mut request, wanted.as_ref().copied().unwrap()).unwrap();
            let carried =
                async move { relay(opening.await.unwrap(), TokioIo::new(server.await), wanted.unwrap()).await };
            tokio::spawn(async { carried.await.unwrap() });
            response
        }
        Relay::Tunnel => {
            let (response, opening) = tunnelled(&mut request).unwrap();
            tokio::spawn(async move {
                let (mut client, mut server) = (opening.await.unwrap(), TokioIo::new(server.await));
                tokio::io::copy_bidirectional(&mut client, &mut server).await.unwrap();
            });
            response
        }
    }
}

async fn connect(path: &str, headers: &[(&str, &str)]) -> (http::StatusCode, Option<hyper::upgrade::Upgraded>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let server = hyper::server::conn::http1::Builder::new();
        server.serve_connection(TokioIo::new(stream), service_fn(answer)).with_upgrades().await.unwrap();
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::post(path).header("host", "x").header("connection", "Upgrade");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let status = answer.status();
    let io = if status == 101 { Some(hyper::upgrade::on(answer).await.unwrap()) } else { None };
    (status, io)
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

async fn all(mut pipe: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut out = Vec::new();
    pipe.read_to_end(&mut out).await.unwrap();
    out
}

async fn websocket(path: &str, protocol: &str) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let key = [
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", protocol),
    ];
    let (_, io) = connect(path, &key).await;
    WebSocketStream::from_raw_socket(TokioIo::new(io.unwrap()), protocol::Role::Client, None).await
}

#[tokio::test]
async fn exec_over_spdy_carries_a_mebibyte_both_ways_and_the_exit_code() {
    let wanted = [("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")];
    let (_, io) = connect("/exec?stdin=1&stdout=1&tty=true", &wanted).await;
    let (session, _incoming) = Session::new(TokioIo::new(io.unwrap()), Role::Client);
    let error = session.open(headers(&[("streamType", "error")])).await.unwrap();
    drop(error.write);
    let mut stdin = session.open(headers(&[("streamType", "stdin")])).await.unwrap().write;
    let stdout = session.open(headers(&[("streamType", "stdout")])).await.unwrap();
    let mut resize = session.open(headers(&[("streamType", "resize")])).await.unwrap().write;
    resize.write_all(b"{\"Width\":80,\"Height\":24}\n").await.unwrap();
    let sent: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    let copy = sent.clone();
    tokio::spawn(async move { stdin.write_all(&copy).await.unwrap() });
    assert!(all(stdout.read).await == sent);
    let status: Value = serde_json::from_slice(&all(error.read).await).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}

#[tokio::test]
async fn exec_over_websocket_version_5_closes_stdin_by_a_message() {
    hello_by_version_5("/exec?stdin=true&stdout=true").await;
}

#[tokio::test]
async fn exec_over_websocket_version_5_reaches_a_server_that_speaks_spdy_alone() {
    hello_by_version_5("/relayed/exec?stdin=true&stdout=true").await;
}

async fn hello_by_version_5(path: &str) {
    let mut socket = websocket(path, "v5.channel.k8s.io").await;
    socket.send(Message::binary(&b"\x00hello"[..])).await.unwrap();
    socket.send(Message::binary(&[255_u8, 0][..])).await.unwrap();
    let (mut out, mut status, mut closed) = (Vec::new(), Vec::new(), false);
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = &message {
            assert_eq!(frame.as_ref().map(|f| u16::from(f.code)), Some(1000));
            closed = true;
            continue;
        }
        let data = message.into_data();
        match data.first() {
            Some(1) => {
                assert!(status.is_empty(), "output behind the status, which clients take for its end");
                out.extend_from_slice(&data[1..]);
            }
            Some(3) => status.extend_from_slice(&data[1..]),
            _ => {}
        }
    }
    assert!(closed);
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!((out.as_slice(), &status["reason"]), (&b"hello"[..], &Value::from("NonZeroExitCode")));
}

async fn forwards_over(session: Session) {
    for (id, port) in [("0", "80"), ("1", "80"), ("2", "81")] {
        let all_headers = |kind| headers(&[("streamType", kind), ("port", port), ("requestID", id)]);
        let error = session.open(all_headers("error")).await.unwrap();
        let mut data = session.open(all_headers("data")).await.unwrap();
        drop(error.write);
        if port == "80" {
            data.write.write_all(b"ping").await.unwrap();
            drop(data.write);
            assert_eq!(all(data.read).await, b"ping");
            assert_eq!(all(error.read).await, b"");
        } else {
            assert_eq!(all(error.read).await, b"refused");
        }
    }
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy_and_through_websocket() {
    let wanted = [("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "portforward.k8s.io")];
    let (_, io) = connect("/portForward", &wanted).await;
    forwards_over(Session::new(TokioIo::new(io.unwrap()), Role::Client).0).await;

    for path in ["/portForward", "/relayed/portForward"] {
        let socket = websocket(path, "SPDY/3.1+portforward.k8s.io").await;
        forwards_over(Session::new(untunnelled(socket), Role::Client).0).await;
    }
}

fn untunnelled(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) -> tokio::io::DuplexStream {
    let (near, far) = tokio::io::duplex(4096);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(far);
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                count = read.read(&mut buffer) => match count {
                    Ok(count) if count > 0 => socket.send(Message::binary(buffer[..count].to_vec())).await.unwrap(),
                    _ => return,
                },
                message = socket.next() => match message {
                    Some(Ok(message)) => write.write_all(&message.into_data()).await.unwrap(),
                    _ => return,
                },
            }
        }
    });
    near
}

#[tokio::test]
async fn ports_over_channels_begin_with_their_number() {
    let mut socket = websocket("/portForward?port=80", "v4.channel.k8s.io").await;
    socket.send(Message::binary(&b"\x00abc"[..])).await.unwrap();
    // The first message of each channel is the port and nothing else: clients count its bytes. They come in order.
    let first = [socket.next().await.unwrap().unwrap().into_data(), socket.next().await.unwrap().unwrap().into_data()];
    assert_eq!(first, [&b"\x00\x50\x00"[..], &b"\x01\x50\x00"[..]]);
    let mut out = b"\x50\x00".to_vec();
    while out.len() < 5 {
        let data = socket.next().await.unwrap().unwrap().into_data();
        if data.first() == Some(&0) {
            out.extend_from_slice(&data[1..]);
        }
    }
    assert_eq!(out, b"\x50\x00abc");
}

#[tokio::test]
async fn unknown_protocols_are_refused() {
    let wanted = [("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v9.channel.k8s.io")];
    assert_eq!(connect("/exec?stdout=1", &wanted).await.0, 403);
    assert_eq!(connect("/exec?stdout=1", &[("upgrade", "h2c")]).await.0, 400);
}

#[test]
fn flags_of_a_query_are_read_as_the_api_reads_them() {
    let wanted = |query: &str| Wanted::from_query(query).map(|w| (w.stdin, w.stdout, w.stderr, w.tty)).ok();
    // As the Python client writes them, kubectl, an old kubelet's client, and by hand.
    let python = "command=sh&container=c&stderr=True&stdin=False&stdout=True&tty=False";
    assert_eq!(wanted(python), Some((false, true, true, false)));
    assert_eq!(wanted("stdin=true&stdout=true&tty=true&stderr=true"), Some((true, true, false, true)));
    assert_eq!(wanted("input=1&output=1&error=0"), Some((true, true, false, false)));
    assert_eq!(wanted("stdout&stdin=FALSE&stderr=yes"), Some((false, true, true, false)));
    assert_eq!(wanted("stdin=0&stdout=false"), None);
    assert_eq!(wanted(""), None);
}
