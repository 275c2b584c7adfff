//! WebSocket connections as numbered channels, and as a tunnel for another protocol.

use crate::Error;
use crate::pipe::{Pipe, pipe};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CHUNK: usize = 32 * 1024;
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// How long the peer may take to answer our close.
const LINGER: Duration = Duration::from_secs(5);
/// In version 5 this channel names one whose direction has ended.
const CLOSE: u8 = 255;

/// How channels are written into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Text with base64 instead of bytes.
    pub(crate) base64: bool,
    /// The end of a channel can be told.
    pub(crate) close: bool,
    /// An empty message on the lowest channel that we write says that the connection is there. A forwarded port begins
    /// with its number.
    pub(crate) greet: bool,
}

impl Format {
    fn message(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let mut text = char::from(b'0' + channel).to_string();
            STANDARD.encode_string(data, &mut text);
            return Message::text(text);
        }
        let mut bytes = Vec::with_capacity(data.len() + 1);
        bytes.push(channel);
        bytes.extend_from_slice(data);
        Message::binary(bytes)
    }

    /// The channel and the bytes of a message; `None` for an empty one.
    pub(crate) fn parse(self, message: Message) -> Result<Option<(u8, Bytes)>, Error> {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            _ => return Ok(None),
        };
        if data.is_empty() {
            return Ok(None);
        }
        let channel = data.split_to(1)[0];
        if !self.base64 {
            return Ok(Some((channel, data)));
        }
        let bad = || Error::Protocol("a message is not a digit and base64".to_owned());
        let data = STANDARD.decode(&data).map_err(|_| bad())?;
        Ok(Some((channel.checked_sub(b'0').ok_or_else(bad)?, data.into())))
    }
}

async fn socket<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

fn ended(error: tungstenite::Error) -> Error {
    Box::new(error).into()
}

/// The end of a connection; clients take one without a code for a failure.
fn farewell() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// A connection with channels. Its pipes are given out when it is made.
pub(crate) struct Channels {
    pumps: TaskTracker,
    /// Each ends when all is sent that was written to its channel.
    written: HashMap<u8, JoinHandle<()>>,
    out: mpsc::Sender<Message>,
    ended: CancellationToken,
}

/// What each channel is for.
pub(crate) struct Plan {
    /// Channels that the client writes.
    pub(crate) read: Vec<u8>,
    /// Channels that we write.
    pub(crate) write: Vec<u8>,
}

/// The user's ends by channel.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) read: HashMap<u8, Pipe>,
    pub(crate) write: HashMap<u8, Pipe>,
}

impl Channels {
    /// Begins to carry channels over a connection that was upgraded.
    pub(crate) async fn new<S>(io: S, format: Format, plan: &Plan) -> (Self, Ends)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sink, mut stream) = socket(io).await.split();
        let (out, mut messages) = mpsc::channel::<Message>(16);
        let (pumps, written) = (TaskTracker::new(), HashMap::new());
        let mut channels = Self { pumps, written, out, ended: CancellationToken::new() };
        let (mut ends, mut inputs) = (Ends::default(), HashMap::new());
        if let Some(first) = plan.write.iter().min().filter(|_| format.greet) {
            // There is room for it, and whoever takes messages away lives as long as this does.
            drop(channels.say(format, *first, &[]).await);
        }
        for &channel in &plan.read {
            let (inner, user) = pipe();
            inputs.insert(channel, inner);
            ends.read.insert(channel, user);
        }
        for &channel in &plan.write {
            let (inner, user) = pipe();
            ends.write.insert(channel, user);
            let sent = channels.pumps.spawn(pump(channel, inner, format, channels.out.clone()));
            channels.written.insert(channel, sent);
        }
        let stop = channels.ended.clone();
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                let last = message.is_close();
                if let Err(error) = sink.send(message).await {
                    tracing::debug!(%error, "a WebSocket connection could not be written");
                    return stop.cancel();
                }
                if last {
                    return;
                }
            }
        });
        let stop = channels.ended.clone();
        tokio::spawn(async move {
            let reading = async {
                while let Some(message) = stream.next().await {
                    deliver(format.parse(message.map_err(ended)?)?, &mut inputs, format).await;
                }
                Ok::<_, Error>(())
            };
            tokio::select! {
                result = reading => if let Err(error) = result {
                    tracing::debug!(%error, "a WebSocket connection ended");
                },
                () = stop.cancelled() => {}
            }
            stop.cancel();
        });
        (channels, ends)
    }

    /// Sends a message on a channel before what its pipe's user writes from now on.
    pub(crate) async fn say(&self, format: Format, channel: u8, data: &[u8]) -> Result<(), Error> {
        self.out.send(format.message(channel, data)).await.map_err(|_| Error::Closed)
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn closed(&self) {
        self.ended.cancelled().await;
    }

    /// Resolves when everything is on its way that was written to these channels, whose pipes are dropped.
    pub(crate) async fn written(&mut self, channels: &[u8]) {
        for channel in channels {
            let Some(sent) = self.written.remove(channel) else { continue };
            tokio::select! {
                // One that panicked has nothing left to send.
                _ = sent => {}
                () = self.ended.cancelled() => return,
            }
        }
    }

    /// Sends what the users of dropped pipes wrote, and closes the connection.
    pub(crate) async fn finish(self) {
        self.pumps.close();
        tokio::select! {
            () = self.pumps.wait() => {}
            () = self.ended.cancelled() => return,
        }
        if self.out.send(farewell()).await.is_ok() {
            // A peer that does not answer is left after a while.
            drop(tokio::time::timeout(LINGER, self.ended.cancelled()).await);
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Hands bytes to their channel. A channel that nobody reads is passed over.
async fn deliver(parsed: Option<(u8, Bytes)>, inputs: &mut HashMap<u8, Pipe>, format: Format) {
    let Some((channel, data)) = parsed else { return };
    if channel == CLOSE && format.close {
        data.iter().for_each(|closed| drop(inputs.remove(closed)));
    } else if let Some(pipe) = inputs.get_mut(&channel)
        && !data.is_empty()
        && pipe.write_all(&data).await.is_err()
    {
        inputs.remove(&channel);
    }
}

async fn pump(channel: u8, mut from: Pipe, format: Format, out: mpsc::Sender<Message>) {
    loop {
        let mut data = BytesMut::with_capacity(CHUNK);
        match from.read_buf(&mut data).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if out.send(format.message(channel, &data)).await.is_err() {
            return;
        }
    }
}

/// The bytes of another protocol that binary messages carry.
pub(crate) async fn tunnel<S>(io: S) -> Pipe
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sink, mut stream) = socket(io).await.split();
    let (inner, user) = pipe();
    let (mut read, mut write) = tokio::io::split(inner);
    tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Binary(data) = message
                && write.write_all(&data).await.is_err()
            {
                break;
            }
        }
        // The user sees the end of input; its end may be gone already.
        drop(write.shutdown().await);
    });
    tokio::spawn(async move {
        loop {
            let mut data = BytesMut::with_capacity(CHUNK);
            match read.read_buf(&mut data).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if sink.send(Message::Binary(data.freeze())).await.is_err() {
                return;
            }
        }
        if let Err(error) = sink.send(farewell()).await {
            tracing::debug!(%error, "a tunnel was closed by its client first");
        }
    });
    user
}
