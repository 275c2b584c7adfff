//! What a part tells of itself over HTTP: health and readiness to everybody, metrics and its configuration to those whom
//! the API server lets read these paths.
//!
//! Invariant: over TLS nothing but health is told to somebody who was not asked for; the plain pages (the proxy's) are
//! stock's to loopback by default.

use super::clients::{self, Offered};
use crate::cli::parts::HealthFlags;
use crate::failure::{Context, Result};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use ironclad_api::{ApiError, UserInfo};
use ironclad_auth::pki::{self, Pki, Subject};
use ironclad_client::delegated::{Kept, Reviews, Wanted, bearer};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a client may take to connect and to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at once.
const CLIENTS: usize = 64;
/// As long as stock keeps answers.
const KEPT: Kept =
    Kept { tokens: Duration::from_secs(10), allowed: Duration::from_secs(10), refused: Duration::from_secs(10) };

/// Pages that a part has of its own: the answer for a path, by whether the part is well.
pub(super) type Own = fn(&str, bool) -> Option<(StatusCode, &'static str, String)>;

/// What is told.
pub(super) struct Pages {
    /// The component, and under which name it shows its configuration.
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    /// The configuration that is in force.
    pub(super) config: Value,
    /// The checks besides `ping`.
    pub(super) checks: &'static [&'static str],
    /// Whether the part is well.
    pub(super) healthy: Box<dyn Fn() -> bool + Send + Sync>,
    /// Pages of its own, which come before the others: the answer for a path.
    pub(super) own: Own,
}

/// Who may see more than health.
enum Access {
    /// Everybody who reaches the address.
    Open,
    /// Whom the API server lets; nobody else where it cannot be asked.
    Asked(Option<Reviews>),
}

struct Server {
    pages: Pages,
    access: Access,
}

/// Answers over TLS until the guard is dropped or `token` is cancelled.
pub(super) async fn start(
    flags: &HealthFlags,
    default: u16,
    pages: Pages,
    token: &CancellationToken,
) -> Result<Option<DropGuard>> {
    let port = flags.secure_port.unwrap_or(default);
    if port == 0 {
        return Ok(None);
    }
    let pair = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => pki::read_pair(certificate, key).context("cannot use --tls-cert-file")?,
        _ => Pki::alone(&Subject::server(pages.name, "", vec!["localhost".to_owned(), "127.0.0.1".to_owned()]))
            .context("cannot make a certificate")?,
    };
    let tls = clients::door(flags, pair, token).await?;
    let reviewer = flags.authorization_kubeconfig.as_ref().or(flags.authentication_kubeconfig.as_ref());
    let reviews = match reviewer {
        Some(path) => {
            let client =
                ironclad_client::from_kubeconfig(path).await.context("cannot use --authorization-kubeconfig")?;
            Some(Reviews::new(client, KEPT))
        }
        None => None,
    };
    let server = Server { pages, access: Access::Asked(reviews) };
    listen(SocketAddr::new(flags.bind_address, port), server, Some(tls), token).await.map(Some)
}

/// Answers everybody without TLS until the guard is dropped or `token` is cancelled.
pub(super) async fn open(address: SocketAddr, pages: Pages, token: &CancellationToken) -> Result<DropGuard> {
    listen(address, Server { pages, access: Access::Open }, None, token).await
}

async fn listen(
    address: SocketAddr,
    server: Server,
    tls: Option<Offered>,
    token: &CancellationToken,
) -> Result<DropGuard> {
    let listener = TcpListener::bind(address).await.context(&format!("cannot listen on {address}"))?;
    let token = token.child_token();
    tokio::spawn(accept(listener, Arc::new(server), tls, token.clone()));
    Ok(token.drop_guard())
}

async fn accept(listener: TcpListener, server: Arc<Server>, tls: Option<Offered>, token: CancellationToken) {
    let places = Arc::new(tokio::sync::Semaphore::new(CLIENTS));
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().acquire_owned().await) else { continue };
        let (server, tls, token) = (server.clone(), tls.clone(), token.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = connection(stream, server, tls) => {}
            }
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, server: Arc<Server>, tls: Option<Offered>) {
    let Some(tls) = tls else { return serve(stream, server, Client::default()).await };
    let door = tls.load_full();
    let accepting = TlsAcceptor::from(door.tls.clone()).accept(stream);
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, accepting).await else {
        return tracing::trace!("a client went away");
    };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    serve(stream, server, Client { door: Some(door), shown: shown.into() }).await;
}

/// What a connection has shown of whose it is.
#[derive(Clone, Default)]
struct Client {
    door: Option<Arc<clients::Door>>,
    shown: Arc<[CertificateDer<'static>]>,
}

impl Client {
    async fn user(&self, head: &Parts) -> std::result::Result<Option<UserInfo>, ApiError> {
        match &self.door {
            Some(door) => door.user(&self.shown, head).await,
            None => Ok(None),
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, server: Arc<Server>, client: Client) {
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (server, client) = (server.clone(), client.clone());
        async move {
            let (head, _) = request.into_parts();
            Ok::<_, Infallible>(match client.user(&head).await {
                Ok(user) => server.answer(&head, user).await,
                Err(_) => unauthorized(),
            })
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::trace!(%error, "a client went away");
    }
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    text(StatusCode::UNAUTHORIZED, "application/json", status(401, "Unauthorized", "Unauthorized"))
}

const PLAIN: &str = "text/plain; charset=utf-8";

impl Server {
    async fn answer(&self, head: &Parts, certificate: Option<UserInfo>) -> Response<Full<Bytes>> {
        let path = head.uri.path();
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        if !matches!(first, "healthz" | "livez" | "readyz")
            && let Err(refusal) = self.check(head, certificate).await
        {
            return refusal;
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n");
        }
        self.pages.page(path, head.uri.query().unwrap_or_default())
    }

    /// Lets a request pass that the API server lets pass.
    async fn check(
        &self,
        head: &Parts,
        certificate: Option<UserInfo>,
    ) -> std::result::Result<(), Response<Full<Bytes>>> {
        let Access::Asked(reviews) = &self.access else { return Ok(()) };
        let verb = head.method.as_str().to_lowercase();
        let wanted = Wanted::Path(verb.clone(), head.uri.path().to_owned());
        let user = match (certificate, bearer(&head.headers), reviews) {
            (Some(user), ..) => user,
            (None, Some(token), Some(reviews)) => match reviews.user(token).await {
                Ok(user) => user.ok_or_else(unauthorized)?,
                Err(error) => {
                    tracing::warn!(%error, "cannot ask whose token was shown");
                    return Err(unauthorized());
                }
            },
            (None, Some(_), None) => return Err(unauthorized()),
            (None, None, _) => UserInfo::new("system:anonymous", &["system:unauthenticated"]),
        };
        let mut user = user;
        if user.name != "system:anonymous" && !user.groups.iter().any(|g| g == "system:authenticated") {
            user.groups.push("system:authenticated".to_owned());
        }
        let privileged = user.groups.iter().any(|g| g == "system:masters");
        let allowed = match reviews {
            _ if privileged => true,
            None => false,
            Some(reviews) => reviews.allowed(&user, &wanted).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot ask whether a request is allowed");
                false
            }),
        };
        if allowed {
            return Ok(());
        }
        let why = format!("forbidden: User {:?} cannot {verb} path {:?}", user.name, head.uri.path());
        Err(text(StatusCode::FORBIDDEN, "application/json", status(403, "Forbidden", &why)))
    }
}

fn status(code: u16, reason: &str, message: &str) -> String {
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "details": {}, "code": code,
    })
    .to_string()
}

impl Pages {
    fn page(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        if let Some((code, kind, body)) = (self.own)(path, (self.healthy)()) {
            return text(code, kind, body);
        }
        match path.trim_end_matches('/') {
            "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics()),
            "/configz" => {
                let all = serde_json::json!({ self.group: self.config });
                text(StatusCode::OK, "application/json", all.to_string())
            }
            door @ ("/healthz" | "/livez" | "/readyz") => self.health(door, query),
            "" if path == "/" => {
                let paths = ["/configz", "/healthz", "/livez", "/metrics", "/readyz"];
                text(StatusCode::OK, "application/json", serde_json::json!({"paths": paths}).to_string())
            }
            _ => text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n"),
        }
    }

    fn health(&self, door: &str, query: &str) -> Response<Full<Bytes>> {
        let well = (self.healthy)();
        let verbose = query.split('&').any(|p| p == "verbose" || p.starts_with("verbose="));
        if well && !verbose {
            return text(StatusCode::OK, PLAIN, "ok");
        }
        let mut out = "[+]ping ok\n".to_owned();
        for check in self.checks {
            out.push_str(&if well {
                format!("[+]{check} ok\n")
            } else {
                format!("[-]{check} failed: reason withheld\n")
            });
        }
        let door = door.trim_start_matches('/');
        let (code, end) = if well { (StatusCode::OK, "passed") } else { (StatusCode::INTERNAL_SERVER_ERROR, "failed") };
        text(code, PLAIN, format!("{out}{door} check {end}\n"))
    }
}

/// The page of metrics: what the parts count, and what the process takes.
fn metrics() -> String {
    let mut out = ironclad_client::metrics::render();
    let version = crate::server::VERSION;
    let mut show = |name: &str, kind: &str, help: &str, labels: &str, value: f64| {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n"));
    };
    let build = format!(
        "{{build_date=\"\",compiler=\"rustc\",git_commit=\"\",git_version=\"{version}\",platform=\"linux/amd64\"}}"
    );
    show(
        "kubernetes_build_info",
        "gauge",
        "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
        &build,
        1.0,
    );
    let Ok(stat) = procfs::process::Process::myself().and_then(|p| p.stat()) else { return out };
    let ticks = procfs::ticks_per_second() as f64;
    show(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        "",
        (stat.utime + stat.stime) as f64 / ticks,
    );
    show(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        "",
        (stat.rss * procfs::page_size()) as f64,
    );
    if let Ok(boot) = procfs::boot_time_secs() {
        let start = boot as f64 + stat.starttime as f64 / ticks;
        show(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            "",
            start,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(healthy: bool) -> Server {
        let pages = Pages {
            name: "kube-scheduler",
            group: "kubescheduler.config.k8s.io",
            config: serde_json::json!({"parallelism": 16}),
            checks: &["leaderElection"],
            healthy: Box::new(move || healthy),
            own: |_, _| None,
        };
        Server { pages, access: Access::Asked(None) }
    }

    async fn ask(server: &Server, path: &str, user: Option<UserInfo>) -> (u16, String) {
        use http_body_util::BodyExt;
        let (head, ()) = Request::get(path).body(()).unwrap().into_parts();
        let answer = server.answer(&head, user).await;
        let code = answer.status().as_u16();
        (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn health_is_told_to_everybody_and_the_rest_to_those_who_may() {
        let server = server(true);
        assert_eq!(ask(&server, "/healthz", None).await, (200, "ok".to_owned()));
        let verbose = "[+]ping ok\n[+]leaderElection ok\nreadyz check passed\n";
        assert_eq!(ask(&server, "/readyz?verbose", None).await, (200, verbose.to_owned()));
        let (code, body) = ask(&server, "/metrics", None).await;
        assert_eq!(code, 403);
        assert!(body.contains("forbidden: User \\\"system:anonymous\\\" cannot get path \\\"/metrics\\\""), "{body}");
        let master = || Some(UserInfo::new("admin", &["system:masters"]));
        assert!(ask(&server, "/metrics", master()).await.1.contains("process_start_time_seconds"));
        let config = "{\"kubescheduler.config.k8s.io\":{\"parallelism\":16}}";
        assert_eq!(ask(&server, "/configz", master()).await, (200, config.to_owned()));
        assert_eq!(ask(&server, "/nothing", master()).await.0, 404);
    }

    #[tokio::test]
    async fn a_part_that_is_not_well_says_so() {
        let (code, body) = ask(&server(false), "/healthz", None).await;
        assert_eq!(
            (code, body.as_str()),
            (500, "[+]ping ok\n[-]leaderElection failed: reason withheld\nhealthz check failed\n")
        );
    }
}
