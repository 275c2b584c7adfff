//! Calls to etcd's members: one at a time is asked, the next one when it does not answer.
//!
//! Invariant: a call that may have changed something is sent at most once.

use crate::{Error, Result};
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use ironclad_remote::Way;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Files that say who the members are and who asks.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates of authorities that the members' certificates must come from, as PEM.
    pub ca: Option<Vec<u8>>,
    /// Certificate and key of the client, as PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Whether a call can be repeated when nobody knows whether it was carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    /// Only if it never left this machine.
    Unsent,
}

pub(super) struct Client {
    members: Vec<(String, Channel)>,
    asked: AtomicUsize,
    /// How long a call may take with all its tries.
    pub(super) patience: Duration,
}

impl Client {
    /// Connections to all members, made when they are needed.
    pub(super) fn new(servers: &[String], tls: &Tls, way: &Way, patience: Duration) -> Result<Self> {
        let members: Result<Vec<_>> = servers.iter().map(|s| Ok((s.clone(), channel(s, tls, way)?))).collect();
        let members = members?;
        match members.is_empty() {
            true => Err(Error::Unavailable("no etcd server is given".to_owned())),
            false => Ok(Self { members, asked: AtomicUsize::new(0), patience }),
        }
    }

    /// The member that is asked now.
    pub(super) fn member(&self) -> (usize, Grpc<Channel>) {
        let at = self.asked.load(Ordering::Relaxed) % self.members.len();
        let grpc = Grpc::new(self.members[at].1.clone());
        (at, grpc.max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX))
    }

    /// Goes on to the next member, unless somebody did already.
    pub(super) fn next(&self, failed: usize) {
        let next = (failed + 1) % self.members.len();
        // When another call was faster its choice stands.
        let _ = self.asked.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One call and its answer.
    pub(super) async fn call<Q, A>(&self, path: &'static str, question: Q, again: Again) -> Result<A>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        self.call_within(self.patience, path, question, again).await
    }

    /// The same with another patience.
    pub(super) async fn call_within<Q, A>(
        &self,
        patience: Duration,
        path: &'static str,
        question: Q,
        again: Again,
    ) -> Result<A>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let end = Instant::now() + patience;
        let mut pause = Duration::from_millis(20);
        let mut failures = 0;
        loop {
            let (member, mut grpc) = self.member();
            let asked = tokio::time::timeout_at(end, ask(&mut grpc, path, question.clone())).await;
            let status = match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {patience:?}")),
            };
            if !lost(&status) {
                return Err(interpret(&status));
            }
            self.next(member);
            failures += 1;
            if (again == Again::Unsent && !unsent(&status)) || Instant::now() + pause > end {
                return Err(Error::Unavailable(self.told(member, &status)));
            }
            // Every member gets its chance before there is a pause.
            if failures % self.members.len() == 0 {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }

    /// Why there is no answer: in etcd's own words, where it has any.
    fn told(&self, member: usize, status: &Status) -> String {
        match status.message().starts_with("etcdserver: ") {
            true => status.message().to_owned(),
            false => format!("{}: {}", self.members[member].0, reason(status)),
        }
    }
}

async fn ask<Q, A>(grpc: &mut Grpc<Channel>, path: &'static str, question: Q) -> std::result::Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    grpc.ready().await.map_err(|e| Status::from_error(Box::new(e)))?;
    let codec = ProstCodec::<Q, A>::default();
    let answer = grpc.unary(Request::new(question), PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

fn channel(server: &str, tls: &Tls, way: &Way) -> Result<Channel> {
    let bad = |e: tonic::transport::Error| Error::Unavailable(format!("cannot use {server}: {}", chain(&e)));
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(bad)?
        .connect_timeout(Duration::from_secs(3))
        .tcp_nodelay(true)
        // A member that went silent is found out while calls still have time for another one.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20);
    if server.starts_with("https:") {
        let mut config = ClientTlsConfig::new();
        if let Some(ca) = &tls.ca {
            config = config.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(config).map_err(bad)?;
    }
    if way.is_direct() {
        return Ok(endpoint.connect_lazy());
    }
    let way = way.clone();
    let dial = move |uri: Uri| {
        let way = way.clone();
        async move {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            way.dial(&host, uri.port_u16().unwrap_or(2379)).await.map(TokioIo::new)
        }
    };
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(dial)))
}

/// Whether no member has answered: what has a cause came about on this machine.
fn lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded)
        || std::error::Error::source(status).is_some()
}

/// Whether a call failed before anything was sent: there was no connection, or it was closed while the call still waited
/// for its turn on it.
fn unsent(status: &Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(error) = cause {
        let waited = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        if waited || error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

pub(super) fn reason(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => chain(cause),
        None => status.message().to_owned(),
    }
}

/// What a refusal means. The revisions of history's ends are filled in by whoever knows them.
pub(super) fn interpret(status: &Status) -> Error {
    let message = status.message();
    if message.contains("required revision has been compacted") {
        return Error::Compacted { requested: crate::Revision(0), oldest: crate::Revision(0) };
    }
    if message.contains("required revision is a future revision") {
        return Error::Future { requested: crate::Revision(0), newest: crate::Revision(0) };
    }
    match status.code() {
        Code::ResourceExhausted if message.contains("space exceeded") => Error::Full(message.to_owned()),
        _ if lost(status) => Error::Unavailable(reason(status)),
        _ => Error::Refused(reason(status)),
    }
}
