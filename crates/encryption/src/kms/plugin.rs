//! Calls of the plugin: gRPC over a unix socket, made on one thread with a runtime of its own, so that whoever opens a
//! value may wait for it anywhere.

use super::wire::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};
use super::{LARGEST, Pace, SEED, Source, State};
use crate::{aes, metrics};
use arc_swap::ArcSwap;
use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Outcome<T> = Result<T, String>;

/// The longest message that a plugin may send.
const MESSAGE: usize = 1 << 20;

struct Ask {
    request: DecryptRequest,
    reply: mpsc::SyncSender<Outcome<Vec<u8>>>,
}

/// The plugin's end here. Dropping it ends the thread.
pub(super) struct Plugin {
    asks: UnboundedSender<Ask>,
    patience: Duration,
}

impl Plugin {
    /// Starts the thread; returns when `state` holds a first seed.
    pub(super) fn start(
        name: String,
        path: String,
        patience: Duration,
        pace: Pace,
        state: Arc<ArcSwap<State>>,
    ) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let (asks, receiver) = unbounded_channel();
        let (ready, first) = mpsc::sync_channel(1);
        let work = move || {
            let mut calls = Calls { name, path, patience, sender: None };
            runtime.block_on(async {
                let outcome = calls.look(&state).await;
                let good = outcome.is_ok();
                // Whoever waited has its own time-out.
                let _ = ready.send(outcome);
                if good {
                    calls.serve(receiver, pace, &state).await;
                }
            });
        };
        std::thread::Builder::new().name("kms".into()).spawn(work).map_err(|e| e.to_string())?;
        first.recv_timeout(patience * 4).map_err(|_| "it does not answer".to_owned())??;
        Ok(Self { asks, patience })
    }

    /// Has the plugin open a sealed seed.
    pub(super) fn decrypt(&self, request: DecryptRequest) -> Outcome<Vec<u8>> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.asks.send(Ask { request, reply }).map_err(|_| "the KMS thread has ended".to_owned())?;
        answer.recv_timeout(self.patience * 2).map_err(|_| "the KMS plugin does not answer".to_owned())?
    }
}

struct Calls {
    /// The provider's name.
    name: String,
    path: String,
    patience: Duration,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Calls {
    async fn serve(&mut self, mut asks: UnboundedReceiver<Ask>, pace: Pace, state: &ArcSwap<State>) {
        let mut next = tokio::time::Instant::now() + pace.good;
        loop {
            tokio::select! {
                ask = asks.recv() => {
                    let Some(ask) = ask else { return };
                    let answer = self.call::<_, DecryptResponse>("Decrypt", &ask.request).await;
                    // A caller that waits no more does not get the answer.
                    let _ = ask.reply.send(answer.map(|a| a.plaintext));
                }
                () = tokio::time::sleep_until(next) => {
                    let good = self.look(state).await;
                    if let Err(error) = &good {
                        tracing::error!(error, "the KMS plugin cannot be used; the last key stays in use for a while");
                    }
                    next = tokio::time::Instant::now() + if good.is_ok() { pace.good } else { pace.bad };
                }
            }
        }
    }

    /// Asks how the plugin is, and notes the answer.
    async fn look(&mut self, state: &ArcSwap<State>) -> Outcome<()> {
        let before = State::clone(&state.load());
        let outcome = self.renew(before.source.as_deref()).await;
        let (source, good, error) = match &outcome {
            Ok(newer) => (newer.clone().or(before.source), Some(Instant::now()), None),
            Err(why) => (before.source, before.good, Some(why.clone())),
        };
        state.store(Arc::new(State { source, good, error }));
        outcome.map(drop)
    }

    /// Makes a new seed if the plugin uses another key than for the last one.
    async fn renew(&mut self, current: Option<&Source>) -> Outcome<Option<Arc<Source>>> {
        let status: StatusResponse = self.call("Status", &StatusRequest {}).await?;
        if status.healthz != "ok" {
            return Err(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            return Err(format!("expected KMSv2 API version v2, got {}", status.version));
        }
        if status.key_id.is_empty() || status.key_id.len() > LARGEST {
            let error = if status.key_id.is_empty() { "empty" } else { "too_long" };
            metrics::WRONG_KEYS.add(&[("error", error), ("provider_name", &self.name)], 1);
            return Err("got an empty or too long KMSv2 KeyID".to_owned());
        }
        metrics::told(&self.name, &status.key_id);
        if current.is_some_and(|c| c.key_id == status.key_id) {
            return Ok(None);
        }
        let began = Instant::now();
        let seed: [u8; SEED] = aes::random().inspect_err(|_| metrics::UNSEEDED.add(1))?;
        metrics::SEEDED.took(began.elapsed());
        let request = EncryptRequest { plaintext: seed.to_vec(), uid: uuid::Uuid::new_v4().to_string() };
        let sealed: EncryptResponse = self.call("Encrypt", &request).await?;
        let annotations: usize = sealed.annotations.iter().map(|(k, v)| k.len() + v.len()).sum();
        if sealed.ciphertext.is_empty() || sealed.ciphertext.len() > LARGEST || annotations > 32 * LARGEST {
            return Err("the answer to Encrypt is empty or too long".to_owned());
        }
        let source = Source { seed, key_id: sealed.key_id, sealed: sealed.ciphertext, annotations: sealed.annotations };
        Ok(Some(Arc::new(source)))
    }

    async fn call<Q: Message, A: Message + Default>(&mut self, method: &str, request: &Q) -> Outcome<A> {
        let began = Instant::now();
        let answer = tokio::time::timeout(self.patience, self.try_call(method, request)).await;
        let code = match &answer {
            Ok(Ok(_)) => "OK".to_owned(),
            Ok(Err(why)) => code_of(why),
            Err(_) => "DeadlineExceeded".to_owned(),
        };
        let path = format!("/v2.KeyManagementService/{method}");
        let labels = [("grpc_status_code", &*code), ("method_name", &path), ("provider_name", &self.name)];
        metrics::CALLS.took(&labels, began.elapsed());
        let answer = answer.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
        if answer.is_err() {
            // The next call begins with a new connection.
            self.sender = None;
        }
        answer.map_err(|why| format!("{method}: {why}"))
    }

    async fn try_call<Q: Message, A: Message + Default>(&mut self, method: &str, message: &Q) -> Outcome<A> {
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(message.encoded_len() as u32);
        message.encode(&mut body).map_err(|e| e.to_string())?;
        let request = Request::post(format!("http://localhost/v2.KeyManagementService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(body.freeze()))
            .map_err(|e| e.to_string())?;
        let answer = self.sender().await?.send_request(request).await.map_err(|e| e.to_string())?;
        let (head, body) = answer.into_parts();
        let collected = Limited::new(body, MESSAGE).collect().await.map_err(|e| e.to_string())?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let told = |name: &str| trailers.get(name).or(head.headers.get(name)).and_then(|v| v.to_str().ok());
        match told("grpc-status") {
            Some("0") => {}
            other => {
                return Err(format!("code {}: {}", other.unwrap_or("?"), told("grpc-message").unwrap_or_default()));
            }
        }
        let bytes = collected.to_bytes();
        let body = bytes.get(5..).filter(|_| bytes[0] == 0).ok_or("the answer is no message")?;
        A::decode(body).map_err(|e| e.to_string())
    }

    async fn sender(&mut self) -> Outcome<&mut SendRequest<Full<Bytes>>> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = UnixStream::connect(&self.path).await.map_err(|e| format!("{}: {e}", self.path))?;
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "the connection to the KMS plugin ended");
                }
            });
            self.sender = Some(sender);
        }
        self.sender.as_mut().ok_or_else(|| "no connection".to_owned())
    }
}

/// The names of gRPC's codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The code of a failed call: what the plugin said, or that it is not there.
fn code_of(why: &str) -> String {
    let number = why.strip_prefix("code ").and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
    number.map_or("Unavailable", |n| CODES.get(n).copied().unwrap_or("Unknown")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_is_counted_by_its_code() {
        let of = |why: &str| code_of(why);
        assert_eq!(of("code 9: no key"), "FailedPrecondition");
        assert_eq!((of("code 99: x"), of("/run/kms.sock: gone")), ("Unknown".to_owned(), "Unavailable".to_owned()));
    }
}
