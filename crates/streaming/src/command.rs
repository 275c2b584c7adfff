//! exec and attach: `remotecommand` v1 to v5 over SPDY and WebSocket.

use crate::negotiate::{Chosen, Transport, choose};
use crate::pipe::{Pipe, TerminalSize, sizes};
use crate::spdy::{Incoming, Role, Session, Stream};
use crate::websocket::{Channels, Format, Plan};
use crate::{Error, spdy};
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

const SPDY: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const WEBSOCKET: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];
/// How long the client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);

/// Which streams the client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the query")]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Wanted {
    /// From a query; exec and attach write `stdin` or `input` and so on. As the API reads flags, all but `false` and `0`
    /// mean yes, whatever the case of their letters; the first of one name counts.
    pub fn from_query(query: &str) -> Result<Self, Error> {
        let no = |value: &str| value == "0" || value.eq_ignore_ascii_case("false");
        let is = |names: [&str; 2]| {
            let pairs = query.split('&').map(|p| p.split_once('=').unwrap_or((p, "")));
            pairs.filter(|(key, _)| names.contains(key)).take(1).any(|(_, value)| !no(value))
        };
        let tty = is(["tty", "tty"]);
        let stderr = is(["stderr", "error"]) && !tty;
        let wanted = Self { stdin: is(["stdin", "input"]), stdout: is(["stdout", "output"]), stderr, tty };
        if !(wanted.stdin || wanted.stdout || wanted.stderr) {
            return Err(Error::BadRequest("you must specify at least 1 of stdin, stdout, stderr".to_owned()));
        }
        Ok(wanted)
    }
}

enum Connection {
    Spdy(Session),
    WebSocket(Channels),
}

/// The channels of what a command writes.
const OUTPUTS: [u8; 2] = [1, 2];

/// The streams of an exec or attach.
pub struct RemoteCommand {
    /// What the client types.
    pub stdin: Option<Pipe>,
    /// Where output goes.
    pub stdout: Option<Pipe>,
    /// Where error output goes.
    pub stderr: Option<Pipe>,
    /// New sizes of the client's terminal.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
    error: Option<Pipe>,
    version: u8,
    connection: Connection,
}

impl RemoteCommand {
    /// Resolves when the client has gone.
    pub async fn closed(&self) {
        match &self.connection {
            Connection::Spdy(session) => session.closed().await,
            Connection::WebSocket(channels) => channels.closed().await,
        }
    }

    /// Tells how the command ended, as a `metav1.Status`, and closes the connection when everything is sent.
    pub async fn finish(mut self, status: &Value) -> Result<(), Error> {
        (self.stdin, self.stdout, self.stderr, self.resize) = (None, None, None, None);
        let text = if self.version >= 4 {
            status.to_string()
        } else if status["status"] == "Success" {
            String::new()
        } else {
            status["message"].as_str().unwrap_or_default().to_owned()
        };
        // Clients take the status for the end of all output.
        if let Connection::WebSocket(channels) = &mut self.connection {
            channels.written(&OUTPUTS).await;
        }
        let told = match self.error.take() {
            Some(mut error) => error.write_all(text.as_bytes()).await,
            None => Ok(()),
        };
        match self.connection {
            Connection::Spdy(session) => session.finish().await,
            Connection::WebSocket(channels) => channels.finish().await,
        }
        Ok(told?)
    }
}

/// The status of a command that could not be run.
pub fn failure_status(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500})
}

/// The status of a command that ended with `code`.
pub fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// The answer to an exec or attach request, and its streams once the answer has been sent.
pub fn remote_command<B>(
    request: &mut Request<B>,
    wanted: Wanted,
) -> Result<(Response<()>, impl Future<Output = Result<RemoteCommand, Error>> + Send + 'static), Error> {
    let Chosen { transport, protocol, response } = choose(request.headers(), &SPDY, &WEBSOCKET, "channel.k8s.io")?;
    let upgrade = hyper::upgrade::on(request);
    let streams = async move {
        let io = TokioIo::new(upgrade.await?);
        let version = protocol.strip_prefix('v').and_then(|p| p.bytes().next()).map_or(1, |digit| digit - b'0');
        if transport == Transport::WebSocket {
            let format = Format { base64: protocol.contains("base64"), close: version >= 5, greet: true };
            return Ok(over_websocket(io, wanted, version, format).await);
        }
        let (session, incoming) = Session::new(io, Role::Server);
        let opening = over_spdy(session, incoming, wanted, version);
        tokio::time::timeout(OPENING, opening).await.map_err(|_| Error::Timeout)?
    };
    Ok((response, streams))
}

async fn over_websocket<S>(io: S, wanted: Wanted, version: u8, format: Format) -> RemoteCommand
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let chosen = |list: &[(bool, u8)]| list.iter().filter(|(on, _)| *on).map(|(_, n)| *n).collect();
    let plan = Plan {
        read: chosen(&[(wanted.stdin, 0), (wanted.tty, 4)]),
        write: chosen(&[(wanted.stdout, 1), (wanted.stderr, 2), (true, 3)]),
    };
    let (channels, mut ends) = Channels::new(io, format, &plan).await;
    RemoteCommand {
        stdin: ends.read.remove(&0),
        stdout: ends.write.remove(&1),
        stderr: ends.write.remove(&2),
        resize: ends.read.remove(&4).map(sizes),
        error: ends.write.remove(&3),
        version,
        connection: Connection::WebSocket(channels),
    }
}

async fn over_spdy(
    session: Session,
    mut incoming: Incoming,
    wanted: Wanted,
    version: u8,
) -> Result<RemoteCommand, Error> {
    let mut command = RemoteCommand {
        stdin: None,
        stdout: None,
        stderr: None,
        resize: None,
        error: None,
        version,
        connection: Connection::Spdy(session),
    };
    let resize = wanted.tty && version >= 3;
    let expected = 1 + [wanted.stdin, wanted.stdout, wanted.stderr, resize].iter().filter(|on| **on).count();
    for _ in 0..expected {
        let stream: Stream = incoming.recv().await.ok_or(Error::Closed)?;
        let kind = stream.header("streamtype").to_owned();
        let spdy::Stream { read, write, .. } = stream;
        match kind.as_str() {
            "stdin" => command.stdin = Some(read),
            "stdout" => command.stdout = Some(write),
            "stderr" => command.stderr = Some(write),
            "resize" => command.resize = Some(sizes(read)),
            "error" => command.error = Some(write),
            other => return Err(Error::Protocol(format!("unexpected stream type: {other:?}"))),
        }
    }
    Ok(command)
}
