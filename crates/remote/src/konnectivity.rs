//! A connection through a konnectivity server: one gRPC stream of packets for each, over a unix socket.

use crate::way::Connection;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What is read at once, and what waits between the stream and who uses the connection.
const CHUNK: usize = 32 << 10;
const WAITING: usize = 256 << 10;
/// The longest packet that a server may send.
const LONGEST: usize = 4 << 20;

const DIAL: i32 = 0;
const DIALLED: i32 = 1;
const CLOSE: i32 = 2;
const CLOSED: i32 = 3;
const DATA: i32 = 4;

#[derive(Clone, PartialEq, Message)]
struct Packet {
    #[prost(int32, tag = "1")]
    sort: i32,
    #[prost(message, optional, tag = "2")]
    dial: Option<Dial>,
    #[prost(message, optional, tag = "3")]
    dialled: Option<Dialled>,
    #[prost(message, optional, tag = "4")]
    data: Option<Data>,
    #[prost(message, optional, tag = "5")]
    close: Option<Close>,
}

#[derive(Clone, PartialEq, Message)]
struct Dial {
    #[prost(string, tag = "1")]
    protocol: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(int64, tag = "3")]
    random: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Dialled {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(int64, tag = "2")]
    connection: i64,
    #[prost(int64, tag = "3")]
    random: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(int64, tag = "1")]
    connection: i64,
    #[prost(string, tag = "2")]
    error: String,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Close {
    #[prost(int64, tag = "1")]
    connection: i64,
}

/// A message of gRPC around a packet.
fn framed(packet: &Packet) -> Frame<Bytes> {
    let mut out = BytesMut::with_capacity(packet.encoded_len() + 5);
    out.put_u8(0);
    out.put_u32(packet.encoded_len() as u32);
    out.extend_from_slice(&packet.encode_to_vec());
    Frame::data(out.freeze())
}

/// Takes the first packet from what was read; `None` while it is not whole.
fn packet(read: &mut BytesMut) -> Result<Option<Packet>, String> {
    let Some(head) = read.get(..5) else { return Ok(None) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 || length > LONGEST {
        return Err("the konnectivity server sent a packet that is compressed or too long".to_owned());
    }
    if read.len() < 5 + length {
        return Ok(None);
    }
    read.advance(5);
    Packet::decode(read.split_to(length)).map(Some).map_err(|e| e.to_string())
}

type Body = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;
type Sender = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

struct Answers {
    body: Incoming,
    read: BytesMut,
}

impl Answers {
    async fn next(&mut self) -> Result<Option<Packet>, String> {
        loop {
            if let Some(packet) = packet(&mut self.read)? {
                return Ok(Some(packet));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame.map_err(|e| e.to_string())?.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}

/// Has the server behind a socket connect to an address.
pub(crate) async fn connect(stream: UnixStream, address: &str) -> Result<Connection, (&'static str, io::Error)> {
    let requests = open(stream).await.map_err(|why| ("connect", io::Error::other(why)))?;
    dial(requests, address).await.map_err(|why| ("proxy", io::Error::other(why)))
}

async fn open(stream: UnixStream) -> Result<http2::SendRequest<Body>, String> {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (requests, connection) = handshake.map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to a konnectivity server ended");
        }
    });
    Ok(requests)
}

async fn dial(mut requests: http2::SendRequest<Body>, address: &str) -> Result<Connection, String> {
    let random = i64::from_ne_bytes(uuid::Uuid::new_v4().into_bytes()[..8].try_into().unwrap_or_default()) & i64::MAX;
    let (sender, receiver) = mpsc::channel(8);
    let wanted = Dial { protocol: "tcp".to_owned(), address: address.to_owned(), random };
    let first = framed(&Packet { sort: DIAL, dial: Some(wanted), ..Packet::default() });
    // Before the answer is awaited: servers begin it when they have something to say.
    sender.send(Ok(first)).await.map_err(|e| e.to_string())?;
    let request = Request::post("http://localhost/ProxyService/Proxy")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(ReceiverStream::new(receiver)))
        .map_err(|e| e.to_string())?;
    let answer = requests.send_request(request).await.map_err(|e| e.to_string())?;
    let mut answers = Answers { body: answer.into_body(), read: BytesMut::new() };
    let connection = loop {
        let packet =
            answers.next().await?.ok_or("the konnectivity server closed the stream before it had connected")?;
        match (packet.sort, packet.dialled) {
            (DIALLED, Some(dialled)) if dialled.random == random && dialled.error.is_empty() => {
                break dialled.connection;
            }
            (DIALLED, Some(dialled)) if dialled.random == random => return Err(dialled.error),
            _ => {}
        }
    };
    let (near, far) = tokio::io::duplex(WAITING);
    let (reader, writer) = tokio::io::split(far);
    tokio::spawn(send(reader, sender, connection));
    tokio::spawn(receive(writer, answers));
    Ok(Box::new(near))
}

/// Sends what is written to the connection, and that it is closed.
async fn send(mut reader: ReadHalf<DuplexStream>, sender: Sender, connection: i64) {
    let mut buffer = vec![0; CHUNK];
    loop {
        // The other half of a pair of buffers does not fail, it ends.
        let read = reader.read(&mut buffer).await.unwrap_or(0);
        let packet = match read {
            0 => Packet { sort: CLOSE, close: Some(Close { connection }), ..Packet::default() },
            n => {
                let data = Data { connection, data: buffer[..n].to_vec(), ..Data::default() };
                Packet { sort: DATA, data: Some(data), ..Packet::default() }
            }
        };
        if sender.send(Ok(framed(&packet))).await.is_err() || read == 0 {
            return;
        }
    }
}

/// Hands on what the server sends until it closes.
async fn receive(mut writer: WriteHalf<DuplexStream>, mut answers: Answers) {
    loop {
        match answers.next().await {
            Ok(Some(Packet { sort: DATA, data: Some(data), .. })) => {
                if writer.write_all(&data.data).await.is_err() {
                    return;
                }
            }
            Ok(Some(Packet { sort: CLOSED, .. }) | None) => break,
            Ok(Some(_)) => {}
            Err(error) => {
                tracing::debug!(error, "a connection through a konnectivity server broke");
                break;
            }
        }
    }
    // Whoever reads is gone when this fails.
    let _ = writer.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;

    /// A server of one connection that echoes; addresses that end with `:1` cannot be reached.
    async fn serve(stream: UnixStream) {
        let service = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.uri().path(), "/ProxyService/Proxy");
            let mut asked = Answers { body: request.into_body(), read: BytesMut::new() };
            let (sender, receiver) = mpsc::channel(8);
            tokio::spawn(async move {
                while let Ok(Some(packet)) = asked.next().await {
                    let answer = match (packet.sort, packet.dial, packet.data) {
                        (DIAL, Some(dial), _) => {
                            let refused = dial.address.ends_with(":1");
                            let error = if refused { "no route".to_owned() } else { String::new() };
                            let dialled = Some(Dialled { error, connection: 7, random: dial.random });
                            Packet { sort: DIALLED, dialled, ..Packet::default() }
                        }
                        (DATA, _, Some(data)) => {
                            assert_eq!(data.connection, 7);
                            Packet { sort: DATA, data: Some(data), ..Packet::default() }
                        }
                        _ => Packet { sort: CLOSED, ..Packet::default() },
                    };
                    sender.send(Ok::<_, Infallible>(framed(&answer))).await.unwrap();
                }
            });
            let body = StreamBody::new(ReceiverStream::new(receiver));
            Ok::<_, Infallible>(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
        });
        // The client ends the connection when it has seen enough.
        let _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }

    #[tokio::test]
    async fn bytes_go_to_and_fro_until_one_side_closes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(serve(theirs));
        let mut connection = connect(ours, "10.0.0.1:10250").await.unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(&mut connection);
        let mut echo = vec![0; sent.len()];
        let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut echo));
        written.and(read.map(drop)).unwrap();
        assert_eq!(echo, sent);
        writer.shutdown().await.unwrap();
        assert_eq!(reader.read(&mut echo).await.unwrap(), 0);
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(serve(theirs));
        let (stage, error) = connect(ours, "10.0.0.1:1").await.err().unwrap();
        assert_eq!((stage, error.to_string().as_str()), ("proxy", "no route"));
    }

    #[test]
    fn packets_are_taken_when_they_are_whole() {
        let close = Packet { sort: CLOSE, close: Some(Close { connection: 7 }), ..Packet::default() };
        let mut bytes = BytesMut::from(&*framed(&close).into_data().unwrap());
        bytes.extend_from_slice(&[0, 0]);
        let mut cut = BytesMut::from(&bytes[..6]);
        assert_eq!(packet(&mut cut), Ok(None));
        assert_eq!(packet(&mut bytes), Ok(Some(close)));
        assert_eq!(&bytes[..], [0, 0]);
        assert!(packet(&mut BytesMut::from(&[1_u8, 0, 0, 0, 0][..])).is_err());
        assert!(packet(&mut BytesMut::from(&[0_u8, 255, 0, 0, 0][..])).is_err());
    }
}
