//! Port forward: pairs of a data and an error stream per connection, over SPDY, SPDY in WebSocket, and channels.

use crate::Error;
use crate::negotiate::{Chosen, Transport, choose};
use crate::pipe::Pipe;
use crate::spdy::{Incoming, Role, Session, Stream};
use crate::websocket::{Channels, Ends, Format, Plan, tunnel};
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

pub(crate) const PROTOCOL: &str = "portforward.k8s.io";
const SPDY: [&str; 1] = [PROTOCOL];
pub(crate) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const WEBSOCKET: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// How long the second stream of a pair may take.
const PAIRING: Duration = Duration::from_secs(30);
/// Pairs that wait for their second stream.
const MAX_WAITING: usize = 256;
/// Ports of one request over channels, two channels each.
const MAX_PORTS: usize = 100;

/// One connection to a port.
pub struct Forward {
    /// The port in the pod.
    pub port: u16,
    /// What the client sends.
    pub read: Pipe,
    /// What the client gets.
    pub write: Pipe,
    /// Takes the text of what went wrong.
    pub error: Pipe,
}

enum Connection {
    Spdy { session: Session, incoming: Incoming, waiting: HashMap<String, (bool, Stream)> },
    WebSocket { channels: Channels, forwards: Vec<Forward> },
}

/// The connections that a client opens, one after the other.
pub struct PortForward(Connection);

impl PortForward {
    /// The next connection; `None` when the client opens no more.
    pub async fn next(&mut self) -> Result<Option<Forward>, Error> {
        match &mut self.0 {
            Connection::WebSocket { forwards, .. } => Ok(forwards.pop()),
            Connection::Spdy { incoming, waiting, .. } => loop {
                let next = if waiting.is_empty() {
                    incoming.recv().await
                } else {
                    tokio::time::timeout(PAIRING, incoming.recv()).await.map_err(|_| Error::Timeout)?
                };
                let Some(stream) = next else { return Ok(None) };
                if let Some(forward) = pair(waiting, stream)? {
                    return Ok(Some(forward));
                }
            },
        }
    }

    /// Waits until everything is sent, and closes the connection.
    pub async fn finish(self) {
        match self.0 {
            Connection::Spdy { session, .. } => session.finish().await,
            Connection::WebSocket { channels, .. } => channels.finish().await,
        }
    }
}

/// Joins a stream with the one that came before, or keeps it.
fn pair(waiting: &mut HashMap<String, (bool, Stream)>, stream: Stream) -> Result<Option<Forward>, Error> {
    let is_data = match stream.header("streamtype") {
        "data" => true,
        "error" => false,
        other => return Err(Error::Protocol(format!("invalid stream type {other:?}"))),
    };
    // Clients from before request ids have one pair per port at a time.
    let id = match stream.header("requestid") {
        "" => format!("port {}", stream.header("port")),
        id => id.to_owned(),
    };
    let Some((first_is_data, first)) = waiting.remove(&id) else {
        if waiting.len() >= MAX_WAITING {
            return Err(Error::Protocol("too many connections wait for their second stream".to_owned()));
        }
        waiting.insert(id, (is_data, stream));
        return Ok(None);
    };
    if first_is_data == is_data {
        return Err(Error::Protocol(format!("request {id} has the same stream twice")));
    }
    let (data, error) = if is_data { (stream, first) } else { (first, stream) };
    let port = port(data.header("port"))?;
    Ok(Some(Forward { port, read: data.read, write: data.write, error: error.write }))
}

fn port(text: &str) -> Result<u16, Error> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| Error::BadRequest(format!("invalid port {text:?}")))
}

/// The answer to a port forward request, and its connections once the answer has been sent.
pub fn port_forward<B>(
    request: &mut Request<B>,
) -> Result<(Response<()>, impl Future<Output = Result<PortForward, Error>> + Send + 'static), Error> {
    let Chosen { transport, protocol, response } = choose(request.headers(), &SPDY, &WEBSOCKET, PROTOCOL)?;
    let plain = transport == Transport::WebSocket && protocol != TUNNEL;
    let ports = if plain { ports(request.uri().query().unwrap_or_default())? } else { Vec::new() };
    let upgrade = hyper::upgrade::on(request);
    let streams = async move {
        let io = TokioIo::new(upgrade.await?);
        if plain {
            return over_channels(io, &ports, protocol.contains("base64")).await;
        }
        let (session, incoming) = match transport {
            Transport::Spdy => Session::new(io, Role::Server),
            Transport::WebSocket => Session::new(tunnel(io).await, Role::Server),
        };
        Ok(PortForward(Connection::Spdy { session, incoming, waiting: HashMap::new() }))
    };
    Ok((response, streams))
}

/// The answer to a client that carries SPDY in WebSocket, and the bytes in it once the answer has been sent.
pub fn tunnelled<B>(
    request: &mut Request<B>,
) -> Result<(Response<()>, impl Future<Output = Result<Pipe, Error>> + Send + 'static), Error> {
    let Chosen { response, .. } = choose(request.headers(), &[], &[TUNNEL], TUNNEL)?;
    let upgrade = hyper::upgrade::on(request);
    Ok((response, async move { Ok(tunnel(TokioIo::new(upgrade.await?)).await) }))
}

/// The ports of a query such as `port=80&ports=81,82`.
fn ports(query: &str) -> Result<Vec<u16>, Error> {
    let pairs = query.split('&').filter_map(|p| p.split_once('='));
    let values = pairs.filter(|(key, _)| matches!(*key, "port" | "ports")).map(|(_, value)| value);
    let ports: Vec<u16> =
        values.flat_map(|v| v.split(',').flat_map(|v| v.split("%2C"))).map(port).collect::<Result<_, _>>()?;
    match ports.len() {
        0 => Err(Error::BadRequest("query parameter \"port\" is required".to_owned())),
        n if n > MAX_PORTS => Err(Error::BadRequest(format!("at most {MAX_PORTS} ports can be forwarded"))),
        _ => Ok(ports),
    }
}

async fn over_channels<S>(io: S, ports: &[u16], base64: bool) -> Result<PortForward, Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let data = || (0..ports.len()).map(|i| 2 * i as u8);
    let plan = Plan { read: data().collect(), write: data().flat_map(|c| [c, c + 1]).collect() };
    let format = Format { base64, close: false, greet: false };
    let (channels, ends) = Channels::new(io, format, &plan).await;
    // Clients count on this order: they read one message for each channel, and do not look whose it is.
    for (channel, &port) in data().zip(ports) {
        for channel in [channel, channel + 1] {
            channels.say(format, channel, &port.to_le_bytes()).await?;
        }
    }
    let Ends { mut read, mut write } = ends;
    let mut forwards = Vec::new();
    for (channel, &port) in data().zip(ports).rev() {
        let taken = (read.remove(&channel), write.remove(&channel), write.remove(&(channel + 1)));
        let (Some(read), Some(write), Some(error)) = taken else { continue };
        forwards.push(Forward { port, read, write, error });
    }
    Ok(PortForward(Connection::WebSocket { channels, forwards }))
}
