//! Sockets: UDP and TCP, within bounds.

use crate::Error;
use crate::answer::Resolver;
use crate::quick;
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
/// Questions that one worker answers before it lets others have the thread.
const TURN: usize = 64;
const RECEIVE_BUFFER: usize = 1 << 20;
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
    fn count(&self, code: ResponseCode) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let counter = match code {
            ResponseCode::NoError => &self.answered,
            ResponseCode::NXDomain => &self.no_such_name,
            _ => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sockets that are bound and not served yet.
pub struct Listeners {
    datagrams: Vec<UdpSocket>,
    streams: TcpListener,
    address: SocketAddr,
}

impl Listeners {
    /// Both protocols on one address and port; a socket for each of some workers, among which the kernel spreads
    /// clients.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        // The stream's socket is alone on its port: it tells when another server is there.
        let streams = TcpListener::bind(address).await.map_err(failed)?;
        let bound = streams.local_addr().map_err(failed)?;
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let datagrams = (0..workers).map(|_| datagram_socket(bound)).collect::<io::Result<_>>().map_err(failed)?;
        Ok(Self { datagrams, streams, address: bound })
    }

    /// Where they listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the token is cancelled.
    pub async fn serve(self, resolver: Arc<Resolver>, token: CancellationToken) {
        let waiting = Arc::new(Semaphore::new(WAITING));
        let mut tasks = tokio::task::JoinSet::new();
        for socket in self.datagrams {
            tasks.spawn(datagrams(Arc::new(socket), resolver.clone(), waiting.clone()));
        }
        tasks.spawn(streams(self.streams, resolver));
        token.cancelled().await;
        tasks.shutdown().await;
    }
}

fn datagram_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // A burst must find room while the worker answers; more than the system's limit is cut to it.
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    bind(&socket, &address)?;
    UdpSocket::from_std(socket.into())
}

/// The reply as bytes, cut to what the client takes.
fn encode(resolver: &Resolver, request: &Message, reply: &Message, limit: usize) -> Option<Vec<u8>> {
    resolver.metrics().count(reply.metadata.response_code);
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
    let (mut buffer, mut reply) = (vec![0; 4096], Vec::with_capacity(usize::from(quick::PAYLOAD)));
    loop {
        // Failing to wait is failing to receive, which says why.
        let _ = socket.readable().await;
        for _ in 0..TURN {
            let (length, from) = match socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    // An ICMP error of an earlier answer; the socket itself is fine.
                    tracing::debug!(%error, "receiving a question");
                    continue;
                }
            };
            let question = &buffer[..length];
            if let Some(done) = quick::answer(resolver.zone(), question, &mut reply) {
                resolver.metrics().count(if done.no_such_name {
                    ResponseCode::NXDomain
                } else {
                    ResponseCode::NoError
                });
                // Whoever asked by UDP asks again when the answer is lost.
                let _ = socket.try_send_to(&reply, from);
            } else {
                slowly(&socket, &resolver, &waiting, question, from);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Answers what needs to be taken apart, and perhaps others to be asked.
fn slowly(
    socket: &Arc<UdpSocket>,
    resolver: &Arc<Resolver>,
    waiting: &Arc<Semaphore>,
    question: &[u8],
    from: SocketAddr,
) {
    let Ok(request) = Message::from_vec(question) else { return };
    let limit = usize::from(request.max_payload().clamp(512, quick::PAYLOAD));
    if let Some(reply) = resolver.at_once(&request) {
        if let Some(bytes) = encode(resolver, &request, &reply, limit) {
            // As above.
            let _ = socket.try_send_to(&bytes, from);
        }
        return;
    }
    let Ok(slot) = waiting.clone().try_acquire_owned() else { return };
    let (socket, resolver) = (socket.clone(), resolver.clone());
    tokio::spawn(async move {
        let reply = resolver.resolve(&request).await;
        if let Some(bytes) = encode(&resolver, &request, &reply, limit) {
            let _ = socket.send_to(&bytes, from).await;
        }
        drop(slot);
    });
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
