//! Exec and attach over WebSocket: the protocols `v5.channel.k8s.io` and `v4.channel.k8s.io`.
//!
//! Each message begins with the number of its channel: 0 standard input, 1 output, 2 errors, 3 how it ended, 4 the
//! terminal's size; with version 5, 255 closes the channel named in the next byte.

use crate::Config;
use crate::server::{Body, Query, text};
use bytes::Bytes;
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ironclad_cri::{ContainerStatus, ExecRequest, Session, StreamOptions, TerminalSize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a request for the streams of a container.
pub(crate) fn upgrade(
    config: &Config,
    mut request: Request<Incoming>,
    door: &str,
    status: &ContainerStatus,
    query: &Query,
) -> Response<Body> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if !header("upgrade").eq_ignore_ascii_case("websocket") {
        return text(
            StatusCode::BAD_REQUEST,
            "only WebSocket connections are supported yet: use a client of Kubernetes 1.30 or newer",
        );
    }
    let offered = header("sec-websocket-protocol");
    let chosen = PROTOCOLS.into_iter().find(|p| offered.split(',').any(|o| o.trim() == *p));
    let Some(protocol) = chosen else {
        return text(
            StatusCode::FORBIDDEN,
            format!("unable to negotiate protocol: client supports {offered:?}, server supports {PROTOCOLS:?}"),
        );
    };
    let accept = derive_accept_key(header("sec-websocket-key").as_bytes());
    let flag = |key: &str| query.get(key).and_then(|v| v.first()).is_some_and(|v| v == "true" || v == "1");
    let streams = StreamOptions {
        stdin: flag("stdin"),
        stdout: flag("stdout"),
        stderr: flag("stderr") && !flag("tty"),
        tty: flag("tty"),
    };
    let command = query.get("command").cloned().unwrap_or_default();
    if door == "exec" && command.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 container command");
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let (runtime, id, exec) = (config.runtime.clone(), status.id.clone(), door == "exec");
    tokio::spawn(async move {
        let io = match upgraded.await {
            Ok(io) => TokioIo::new(io),
            Err(error) => return tracing::debug!(%error, "an upgrade failed"),
        };
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        let session = match exec {
            true => runtime.exec(&id, ExecRequest { command, streams }).await,
            false => runtime.attach(&id, streams).await,
        };
        serve(socket, session).await;
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.remove(http::header::CONTENT_TYPE);
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

async fn serve(socket: Socket, session: ironclad_cri::Result<Session>) {
    let (mut sink, source) = socket.split();
    let (frames, mut outgoing) = mpsc::channel::<Vec<u8>>(32);
    let writer = tokio::spawn(async move {
        while let Some(frame) = outgoing.recv().await {
            if sink.send(Message::Binary(Bytes::from(frame))).await.is_err() {
                return;
            }
        }
        let farewell = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        // A client that is gone needs no farewell.
        let _ = sink.send(Message::Close(Some(farewell))).await;
    });
    let ended = match session {
        Ok(session) => run(source, session, &frames).await,
        Err(error) => failure(&format!("{error}"), None),
    };
    let frame = [vec![ERROR], ended.to_string().into_bytes()].concat();
    if frames.send(frame).await.is_ok() {
        drop(frames);
        if let Err(error) = writer.await {
            tracing::debug!(%error, "a stream's writer failed");
        }
    }
}

/// Carries the streams both ways until the process has ended; returns how.
async fn run(source: SplitStream<Socket>, session: Session, frames: &mpsc::Sender<Vec<u8>>) -> Value {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let mut outputs = tokio::task::JoinSet::new();
    for (channel, stream) in [(STDOUT, stdout), (STDERR, stderr)] {
        let Some(mut stream) = stream else { continue };
        let frames = frames.clone();
        outputs.spawn(async move {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(n) = stream.read(&mut buffer).await {
                if n == 0 || frames.send([&[channel], &buffer[..n]].concat()).await.is_err() {
                    return;
                }
            }
        });
    }
    let input = tokio::spawn(incoming(source, stdin, resize));
    let outcome = exit.await;
    // What the process wrote before its end must arrive before the news of it.
    while outputs.join_next().await.is_some() {}
    input.abort();
    match outcome {
        Ok(Ok(0)) => json!({"metadata": {}, "status": "Success"}),
        Ok(Ok(code)) => failure(&format!("command terminated with non-zero exit code: exit status {code}"), Some(code)),
        Ok(Err(error)) => failure(&error.to_string(), None),
        Err(_) => failure("the streams were closed", None),
    }
}

fn failure(message: &str, code: Option<i32>) -> Value {
    let mut status = json!({"metadata": {}, "status": "Failure", "message": message});
    match code {
        Some(code) => {
            status["reason"] = json!("NonZeroExitCode");
            status["details"] = json!({"causes": [{"reason": "ExitCode", "message": code.to_string()}]});
        }
        None => {
            status["reason"] = json!("InternalError");
            status["code"] = json!(500);
        }
    }
    status
}

async fn incoming(
    mut source: SplitStream<Socket>,
    stdin: Option<ironclad_cri::BoxWrite>,
    resize: Option<mpsc::Sender<TerminalSize>>,
) {
    let mut stdin = stdin;
    while let Some(Ok(message)) = source.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Close(_) => return,
            _ => continue,
        };
        match bytes.split_first() {
            Some((&STDIN, data)) => {
                if let Some(writer) = stdin.as_mut()
                    && (writer.write_all(data).await.is_err() || writer.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            Some((&CLOSE, [STDIN, ..])) => stdin = None,
            Some((&RESIZE, data)) => {
                let size: Value = serde_json::from_slice(data).unwrap_or_default();
                let number = |key: &str| size[key].as_u64().map(|n| n as u16);
                if let (Some(width), Some(height), Some(resize)) = (number("Width"), number("Height"), &resize)
                    && resize.send(TerminalSize { width, height }).await.is_err()
                {
                    return;
                }
            }
            _ => {}
        }
    }
}
