//! A session: streams of both sides over one connection.
//!
//! A reader and a writer task own the connection; each stream has a task that turns what its user writes into frames.
//! What is sent waits for the connection, not for the peer's window: the peers that exist never open it. What arrives is
//! acknowledged by WINDOW_UPDATE when the user's pipe took it, for those that count.

use super::frame::{Frame, Status, decode, encode};
use super::headers::{Compressor, Decompressor, Headers};
use crate::Error;
use crate::pipe::{Pipe, pipe};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Streams that are open at once.
const MAX_STREAMS: usize = 1024;
/// Bytes of one data frame that is sent.
const CHUNK: usize = 32 * 1024;
/// How long the peer may take to close its side after ours.
const LINGER: Duration = Duration::from_secs(5);

/// Which side of the connection this is; streams of clients have odd numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Client,
    Server,
}

/// One stream. Dropping `write` ends our direction, dropping `read` discards the other.
pub struct Stream {
    /// What it was opened with.
    pub headers: Headers,
    /// What the peer sends.
    pub read: Pipe,
    /// What the peer gets.
    pub write: Pipe,
}

impl Stream {
    /// The value of a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// Streams that the peer opens.
pub type Incoming = mpsc::Receiver<Stream>;

enum Out {
    Frame(Frame),
    Syn { id: u32, headers: Headers },
    Reply { id: u32 },
    Close,
}

struct Open {
    /// Where the peer's bytes go; `None` once they ended or nobody reads them.
    write: Option<Pipe>,
    /// Our direction has ended.
    sent: bool,
    /// The peer's direction has ended.
    received: bool,
    reset: CancellationToken,
}

/// What the tasks of a session share; never held across an await.
struct State {
    streams: HashMap<u32, Open>,
    next: u32,
}

type Shared = Arc<Mutex<State>>;

/// A handle to a session.
pub struct Session {
    shared: Shared,
    out: mpsc::Sender<Out>,
    pumps: TaskTracker,
    ended: CancellationToken,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Session {
    /// Begins a session on a connection that was upgraded.
    pub fn new<S>(connection: S, role: Role) -> (Self, Incoming)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(connection);
        let (out, frames) = mpsc::channel(16);
        let (incoming, streams) = mpsc::channel(16);
        let next = if role == Role::Client { 1 } else { 2 };
        let shared = Arc::new(Mutex::new(State { streams: HashMap::new(), next }));
        let session = Self { shared, out, pumps: TaskTracker::new(), ended: CancellationToken::new() };
        let reader = Reader {
            shared: session.shared.clone(),
            out: session.out.clone(),
            pumps: session.pumps.clone(),
            incoming,
            role,
            zlib: Decompressor::default(),
            last: 0,
        };
        let ended = session.ended.clone();
        tokio::spawn(async move {
            // The handle's drop ends the reader; a graceful end comes from the writer's closing and the peer's.
            tokio::select! {
                result = reader.run(read) => if let Err(error) = result {
                    tracing::debug!(%error, "a SPDY session ended");
                },
                () = ended.cancelled() => {}
            }
            ended.cancel();
        });
        let ended = session.ended.clone();
        tokio::spawn(async move {
            tokio::select! {
                result = write_frames(frames, write) => if let Err(error) = result {
                    tracing::debug!(%error, "a SPDY session could not be written");
                    ended.cancel();
                },
                () = ended.cancelled() => {}
            }
        });
        (session, streams)
    }

    /// Opens a stream.
    pub async fn open(&self, headers: Headers) -> Result<Stream, Error> {
        let (id, stream) = {
            let mut state = self.shared.lock();
            let id = state.next;
            state.next += 2;
            let (stream, open, write) = ends(headers.clone());
            let reset = open.reset.clone();
            state.streams.insert(id, open);
            (id, (stream, write, reset))
        };
        self.out.send(Out::Syn { id, headers }).await.map_err(|_| Error::Closed)?;
        let (stream, write, reset) = stream;
        self.pumps.spawn(pump(id, write, self.out.clone(), reset, self.shared.clone()));
        Ok(stream)
    }

    /// Resolves when the connection has ended.
    pub async fn closed(&self) {
        self.ended.cancelled().await;
    }

    /// Sends what the users of dropped streams wrote, and closes the connection.
    pub async fn finish(self) {
        self.pumps.close();
        tokio::select! {
            () = self.pumps.wait() => {}
            () = self.ended.cancelled() => return,
        }
        if self.out.send(Out::Close).await.is_ok() {
            // A peer that keeps its side open is left after a while.
            drop(tokio::time::timeout(LINGER, self.ended.cancelled()).await);
        }
    }
}

/// The user's stream, what the session keeps of it, and where the user's bytes come out.
fn ends(headers: Headers) -> (Stream, Open, Pipe) {
    let (inner_in, read) = pipe();
    let (inner_out, write) = pipe();
    let open = Open { write: Some(inner_in), sent: false, received: false, reset: CancellationToken::new() };
    (Stream { headers, read, write }, open, inner_out)
}

/// Turns what the user writes into data frames.
async fn pump(id: u32, mut from: Pipe, out: mpsc::Sender<Out>, reset: CancellationToken, shared: Shared) {
    loop {
        let mut data = BytesMut::with_capacity(CHUNK);
        let count = tokio::select! {
            count = from.read_buf(&mut data) => count.unwrap_or(0),
            () = reset.cancelled() => return,
        };
        let frame = Frame::Data { id, fin: count == 0, data: data.freeze() };
        if out.send(Out::Frame(frame)).await.is_err() || count == 0 {
            break;
        }
    }
    half_closed(&shared, id, |open| open.sent = true);
}

/// Notes that a direction ended; a stream without any is forgotten.
fn half_closed(shared: &Shared, id: u32, note: impl FnOnce(&mut Open)) {
    let mut state = shared.lock();
    if let Some(open) = state.streams.get_mut(&id) {
        note(open);
        if open.sent && open.received {
            state.streams.remove(&id);
        }
    }
}

async fn write_frames<W: AsyncWrite + Unpin>(mut frames: mpsc::Receiver<Out>, mut to: W) -> Result<(), Error> {
    let (mut zlib, mut buffer) = (Compressor::default(), BytesMut::new());
    while let Some(out) = frames.recv().await {
        let frame = match out {
            Out::Frame(frame) => frame,
            Out::Syn { id, headers } => {
                let block = Bytes::from(zlib.block(&headers)?);
                Frame::SynStream { id, associated: 0, priority: 0, fin: false, unidirectional: false, block }
            }
            Out::Reply { id } => Frame::SynReply { id, fin: false, block: Bytes::from(zlib.block(&Headers::new())?) },
            Out::Close => break,
        };
        encode(&frame, &mut buffer);
        to.write_all_buf(&mut buffer).await?;
        to.flush().await?;
    }
    to.shutdown().await?;
    Ok(())
}

struct Reader {
    shared: Shared,
    out: mpsc::Sender<Out>,
    pumps: TaskTracker,
    incoming: mpsc::Sender<Stream>,
    role: Role,
    zlib: Decompressor,
    last: u32,
}

impl Reader {
    async fn run<R: AsyncRead + Unpin>(mut self, mut from: R) -> Result<(), Error> {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let result = loop {
            match decode(&mut buffer) {
                Ok(Some(frame)) => match self.take(frame).await {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Ok(None) => match from.read_buf(&mut buffer).await {
                    Ok(0) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error.into()),
                },
                Err(error) => break Err(error),
            }
        };
        // Readers see the end, and the pumps stop.
        let streams: HashMap<u32, Open> = std::mem::take(&mut self.shared.lock().streams);
        streams.values().for_each(|open| open.reset.cancel());
        result
    }

    async fn send(&self, frame: Frame) -> Result<(), Error> {
        self.out.send(Out::Frame(frame)).await.map_err(|_| Error::Closed)
    }

    /// Acts on a frame.
    async fn take(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Data { id, fin, data } => self.data(id, fin, data).await?,
            Frame::SynStream { id, fin, block, .. } => self.opened(id, fin, &block).await?,
            Frame::SynReply { id, fin, block } | Frame::Headers { id, fin, block } => {
                self.zlib.headers(&block)?;
                if fin {
                    self.end(id);
                }
            }
            Frame::RstStream { id, .. } => {
                if let Some(open) = self.shared.lock().streams.remove(&id) {
                    open.reset.cancel();
                }
            }
            // Numbers of our own parity are answers to ours.
            Frame::Ping(id) if (id % 2 == 1) == (self.role == Role::Server) => self.send(Frame::Ping(id)).await?,
            // The peer opens no more streams; those that are open go on until it closes the connection.
            Frame::Ping(_) | Frame::GoAway { .. } => {}
            Frame::Settings(_) | Frame::WindowUpdate { .. } | Frame::Other(_) => {}
        }
        Ok(())
    }

    async fn opened(&mut self, id: u32, fin: bool, block: &[u8]) -> Result<(), Error> {
        let headers = self.zlib.headers(block)?;
        if id <= self.last || (id % 2 == 1) != (self.role == Role::Server) {
            return Err(Error::Protocol(format!("stream {id} is out of order")));
        }
        self.last = id;
        let (stream, mut open, write) = ends(headers);
        if fin {
            (open.write, open.received) = (None, true);
        }
        let reset = open.reset.clone();
        let refused = {
            let mut state = self.shared.lock();
            let full = state.streams.len() >= MAX_STREAMS;
            if !full {
                state.streams.insert(id, open);
            }
            full
        };
        if refused || self.incoming.send(stream).await.is_err() {
            self.shared.lock().streams.remove(&id);
            return self.send(Frame::RstStream { id, status: Status::RefusedStream as u32 }).await;
        }
        self.out.send(Out::Reply { id }).await.map_err(|_| Error::Closed)?;
        self.pumps.spawn(pump(id, write, self.out.clone(), reset, self.shared.clone()));
        Ok(())
    }

    async fn data(&mut self, id: u32, fin: bool, data: Bytes) -> Result<(), Error> {
        let found = self.shared.lock().streams.get_mut(&id).map(|open| open.write.take());
        let Some(pipe) = found else {
            // One that has ended on both sides is left alone: a reset could discard what the peer has not read yet.
            let known = id <= self.last || (id % 2 == 1) == (self.role == Role::Client);
            let status = Status::InvalidStream as u32;
            return if known { Ok(()) } else { self.send(Frame::RstStream { id, status }).await };
        };
        if let Some(mut pipe) = pipe {
            // A user that no longer reads: the rest is discarded as it comes.
            let taken = data.is_empty() || pipe.write_all(&data).await.is_ok();
            if taken
                && !fin
                && let Some(open) = self.shared.lock().streams.get_mut(&id)
            {
                open.write = Some(pipe);
            }
        }
        if !data.is_empty() {
            self.send(Frame::WindowUpdate { id, delta: data.len() as u32 }).await?;
        }
        if fin {
            self.end(id);
        }
        Ok(())
    }

    fn end(&self, id: u32) {
        half_closed(&self.shared, id, |open| (open.write, open.received) = (None, true));
    }
}
