//! Sockets: UDP and TCP, within bounds.

use crate::Error;
use crate::answer::Resolver;
use hickory_proto::op::{Message, ResponseCode};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const STREAMS: usize = 512;
const WAITING: usize = 2048;
const IDLE: Duration = Duration::from_secs(10);

/// What was counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Questions.
    pub requests: AtomicU64,
    /// Answers without error.
    pub answered: AtomicU64,
    /// Answers that the name does not exist.
    pub no_such_name: AtomicU64,
    /// Questions that could not be answered.
    pub failed: AtomicU64,
}

impl Metrics {
    fn count(&self, reply: &Message) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let counter = match reply.metadata.response_code {
            ResponseCode::NoError => &self.answered,
            ResponseCode::NXDomain => &self.no_such_name,
            _ => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct Listeners {
    datagrams: Arc<UdpSocket>,
    streams: TcpListener,
    address: SocketAddr,
}

impl Listeners {
    /// Both protocols on one address and port.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let streams = TcpListener::bind(address).await.map_err(failed)?;
        let bound = streams.local_addr().map_err(failed)?;
        let datagrams = Arc::new(UdpSocket::bind(bound).await.map_err(failed)?);
        Ok(Self { datagrams, streams, address: bound })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn serve(self, resolver: Arc<Resolver>, token: CancellationToken) {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let waiting = Arc::new(Semaphore::new(WAITING));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(datagrams(self.datagrams.clone(), resolver.clone(), waiting.clone()));
        }
        tasks.spawn(streams(self.streams, resolver));
        token.cancelled().await;
        tasks.shutdown().await;
    }
}

/// The reply as bytes, cut to what the client takes.
fn encode(resolver: &Resolver, request: &Message, reply: &Message, limit: usize) -> Option<Vec<u8>> {
    resolver.metrics().count(reply);
    let bytes = reply.to_vec();
    let bytes = match bytes {
        Ok(bytes) if bytes.len() <= limit => return Some(bytes),
        Ok(_) => reply.truncate().to_vec(),
        Err(error) => {
            tracing::debug!(%error, "cannot encode an answer");
            Message::error_msg(request.metadata.id, request.metadata.op_code, ResponseCode::ServFail).to_vec()
        }
    };
    bytes.ok()
}

async fn datagrams(socket: Arc<UdpSocket>, resolver: Arc<Resolver>, waiting: Arc<Semaphore>) {
    let mut buffer = vec![0; 4096];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier answer; the socket itself is fine.
                tracing::debug!(%error, "receiving a question");
                continue;
            }
        };
        let Ok(request) = Message::from_vec(&buffer[..length]) else { continue };
        let limit = usize::from(request.max_payload().min(1232)).max(512);
        if let Some(reply) = resolver.at_once(&request) {
            if let Some(bytes) = encode(&resolver, &request, &reply, limit) {
                // Whoever asked by UDP asks again when the answer is lost.
                let _ = socket.send_to(&bytes, from).await;
            }
            continue;
        }
        let Ok(slot) = waiting.clone().try_acquire_owned() else { continue };
        let (socket, resolver) = (socket.clone(), resolver.clone());
        tokio::spawn(async move {
            let reply = resolver.resolve(&request).await;
            if let Some(bytes) = encode(&resolver, &request, &reply, limit) {
                let _ = socket.send_to(&bytes, from).await;
            }
            drop(slot);
        });
    }
}

async fn streams(listener: TcpListener, resolver: Arc<Resolver>) {
    let slots = Arc::new(Semaphore::new(STREAMS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let resolver = resolver.clone();
                tokio::spawn(async move {
                    if let Err(error) = stream_answers(stream, &resolver).await {
                        tracing::trace!(%error, "a client went away");
                    }
                    drop(slot);
                });
            }
            Err(error) => tracing::warn!(%error, "cannot accept a connection"),
        }
    }
}

async fn stream_answers(mut stream: TcpStream, resolver: &Resolver) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut buffer = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut buffer)).await??;
        let request = Message::from_vec(&buffer).map_err(io::Error::other)?;
        let reply = resolver.resolve(&request).await;
        let Some(bytes) = encode(resolver, &request, &reply, usize::from(u16::MAX)) else { return Ok(()) };
        let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        stream.write_all(&framed).await?;
    }
}
