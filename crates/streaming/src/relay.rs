//! Clients that speak WebSocket, in front of servers that speak SPDY/3.1 only: kubelets that do not declare the feature
//! `ExtendWebSocketsToKubelet`, and those from before it.
//!
//! Invariant: bytes are passed on as they come, each stream at the pace of its reader.

use crate::command::failure_status;
use crate::negotiate::words;
use crate::pipe::Pipe;
use crate::spdy::{Headers, Role, Session, Stream};
use crate::{Error, RemoteCommand, Wanted};
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Version of exec and attach that is asked of the server.
const COMMAND: &str = "v4.channel.k8s.io";
/// Longest text of how a command ended.
const MAX_STATUS: u64 = 64 * 1024;

/// What has to be put between a client and a server that speaks SPDY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// The channels of exec and attach become streams.
    Command,
    /// SPDY is taken out of its WebSocket.
    Tunnel,
}

impl Relay {
    /// What the headers of a client's request call for; older protocols over WebSocket every kubelet speaks.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if !words(headers, UPGRADE).iter().any(|w| w.eq_ignore_ascii_case("websocket")) {
            return None;
        }
        let offered = words(headers, SEC_WEBSOCKET_PROTOCOL);
        match offered.iter().any(|p| p == "v5.channel.k8s.io") {
            true => Some(Self::Command),
            false => offered.iter().any(|p| p == crate::forward::TUNNEL).then_some(Self::Tunnel),
        }
    }

    /// The headers that ask the server for an upgrade.
    pub fn headers(self) -> [(HeaderName, HeaderValue); 3] {
        let protocol = match self {
            Self::Command => COMMAND,
            Self::Tunnel => crate::forward::PROTOCOL,
        };
        [
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, HeaderValue::from_static("SPDY/3.1")),
            (HeaderName::from_static("x-stream-protocol-version"), HeaderValue::from_static(protocol)),
        ]
    }
}

/// Passes the streams of an exec or attach on over `server`, which was upgraded to SPDY, until the command has ended or
/// one side has gone.
pub async fn relay<S>(mut command: RemoteCommand, server: S, wanted: Wanted) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (session, incoming) = Session::new(server, Role::Client);
    // The server opens no streams.
    drop(incoming);
    let mut error = open(&session, "error").await?;
    if wanted.stdin {
        let Stream { write, read, .. } = open(&session, "stdin").await?;
        drop(read);
        if let Some(from) = command.stdin.take() {
            tokio::spawn(copy(from, write));
        }
    }
    let mut outputs = Vec::new();
    for (kind, on, to) in [
        ("stdout", wanted.stdout, command.stdout.take()),
        ("stderr", wanted.stderr && !wanted.tty, command.stderr.take()),
    ] {
        if let (true, Some(to)) = (on, to) {
            let Stream { read, write, .. } = open(&session, kind).await?;
            drop(write);
            outputs.push(tokio::spawn(copy(read, to)));
        }
    }
    if wanted.tty {
        let Stream { write, .. } = open(&session, "resize").await?;
        if let Some(sizes) = command.resize.take() {
            tokio::spawn(resize(sizes, write));
        }
    }
    let status = tokio::select! {
        status = ending(&mut error.read) => status?,
        () = command.closed() => return Ok(()),
    };
    for output in outputs {
        // A copy that panicked has nothing left to pass on.
        drop(output.await);
    }
    command.finish(&status).await
}

/// Tells a client that its command could not be passed on.
pub async fn refuse(command: RemoteCommand, message: &str) -> Result<(), Error> {
    command.finish(&failure_status(message)).await
}

async fn open(session: &Session, kind: &str) -> Result<Stream, Error> {
    let headers: Headers = vec![("streamtype".to_owned(), kind.to_owned())];
    session.open(headers).await
}

/// How the command ended: the server writes a status and ends the stream, or nothing where all went well.
async fn ending(from: &mut Pipe) -> Result<Value, Error> {
    let mut text = Vec::new();
    from.take(MAX_STATUS).read_to_end(&mut text).await?;
    if text.is_empty() {
        return Ok(crate::exit_status(0));
    }
    let told = || failure_status(&String::from_utf8_lossy(&text));
    Ok(serde_json::from_slice(&text).unwrap_or_else(|_| told()))
}

async fn copy(mut from: Pipe, mut to: Pipe) {
    // That either side goes away is how streams end.
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        tracing::trace!(%error, "a stream that is passed on ended");
    }
}

async fn resize(mut sizes: mpsc::Receiver<crate::TerminalSize>, mut to: Pipe) {
    while let Some(size) = sizes.recv().await {
        let Ok(text) = serde_json::to_vec(&size) else { return };
        if to.write_all(&text).await.is_err() {
            return;
        }
    }
}
