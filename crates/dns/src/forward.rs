//! Questions to the node's resolvers: bounded in number and time, with a bounded cache.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

const PATIENCE: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 1000;
const CACHED: usize = 10_000;
const LONGEST: u32 = 30;

type Key = (Name, RecordType, bool);

/// The servers of a `resolv.conf`, without those that lead back here.
pub fn upstreams(path: &Path, own: &[IpAddr]) -> Vec<SocketAddr> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no resolvers for names outside the cluster");
            return Vec::new();
        }
    };
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()?.parse::<IpAddr>().ok()
    });
    servers.filter(|ip| !own.contains(ip)).map(|ip| SocketAddr::new(ip, 53)).collect()
}

/// Asks other servers.
pub(crate) struct Forwarder {
    servers: Vec<SocketAddr>,
    slots: Semaphore,
    cache: Mutex<HashMap<Key, (Message, Instant)>>,
}

impl Forwarder {
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, slots: Semaphore::new(AT_ONCE), cache: Mutex::default() }
    }

    /// The answer of the first server that gives one.
    pub(crate) async fn ask(&self, query: Query, request: &Message) -> io::Result<Message> {
        let secure = request.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok);
        let key = (query.name().to_lowercase(), query.query_type(), secure);
        if let Some(found) = self.cached(&key) {
            return Ok(found);
        }
        let full = |_| io::Error::other("too many questions to other servers at once");
        let _slot = self.slots.try_acquire().map_err(full)?;
        let mut last = io::Error::other("the node has no resolver");
        for server in &self.servers {
            match tokio::time::timeout(PATIENCE, one(*server, &query, secure)).await {
                Ok(Ok(answer)) if answer.metadata.response_code != ResponseCode::ServFail => {
                    self.keep(key, &answer);
                    return Ok(answer);
                }
                Ok(Ok(_)) => last = io::Error::other(format!("{server} failed")),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{server} does not answer")),
            }
        }
        Err(last)
    }

    fn cached(&self, key: &Key) -> Option<Message> {
        let cache = self.cache.lock();
        let (message, until) = cache.get(key)?;
        let left = until.checked_duration_since(Instant::now())?.as_secs() as u32;
        let mut message = message.clone();
        let records = message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals);
        records.for_each(|r| r.ttl = r.ttl.min(left));
        Some(message)
    }

    fn keep(&self, key: Key, answer: &Message) {
        let ttl = answer.answers.iter().chain(&answer.authorities).map(|r| r.ttl).min().unwrap_or(0).min(LONGEST);
        if ttl == 0 {
            return;
        }
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED {
            cache.retain(|_, (_, until)| *until > now);
            if cache.len() >= CACHED {
                cache.clear();
            }
        }
        cache.insert(key, (answer.clone(), now + Duration::from_secs(u64::from(ttl))));
    }
}

async fn one(server: SocketAddr, query: &Query, secure: bool) -> io::Result<Message> {
    let id = fastrand::u16(..);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    edns.set_dnssec_ok(secure);
    message.set_edns(edns);
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    // A socket of its own for each question: its port is part of what a forger must guess.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(&buffer[..length]) else { continue };
        let same = answer.metadata.id == id && answer.queries.first().is_some_and(|q| q.name() == query.name());
        if same && answer.metadata.truncation {
            return by_stream(server, &bytes).await;
        }
        if same {
            return Ok(answer);
        }
    }
}

async fn by_stream(server: SocketAddr, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(u16::try_from(bytes.len()).map_err(io::Error::other)?).await?;
    stream.write_all(bytes).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer).map_err(io::Error::other)
}
