//! What is kept of a request on its way: how the door and the handler tell the audit.

use crate::Body;
use crate::authn::selected_name;
use crate::metrics::{head, sample};
use crate::request::Info;
use crate::server::Connection;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use ironclad_api::{ApiError, UserInfo};
use ironclad_audit::{Backends, Current, Facts, Level, Policy, Stage, Subject};
use ironclad_json::json;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

/// The policy and where events go.
pub struct Auditor {
    /// What is kept.
    pub policy: Policy,
    /// Where it goes.
    pub backends: Arc<Backends>,
}

/// The request that is served, for whoever sees its end; empty when nothing is kept of it.
pub(crate) type Slot = Arc<OnceLock<Arc<Current>>>;

/// A request's id: its client's, or one of ours.
pub(crate) fn id(headers: &HeaderMap) -> String {
    let given = headers.get("audit-id").and_then(|v| v.to_str().ok()).filter(|t| !t.is_empty() && t.len() <= 64);
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

/// Who sent a request, as far as it says: proxies on the way, then the peer itself.
fn source_ips(parts: &Parts) -> Vec<String> {
    let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let told = text("x-forwarded-for").split(',').chain([text("x-real-ip")]);
    let mut out: Vec<String> = Vec::new();
    for ip in told.filter_map(|t| t.trim().parse::<std::net::IpAddr>().ok()).take(32) {
        if !out.contains(&ip.to_string()) {
            out.push(ip.to_string());
        }
    }
    let peer =
        parts.extensions.get::<Connection>().and_then(|c| c.peer).map_or("::1".to_owned(), |p| p.ip().to_string());
    if !out.contains(&peer) {
        out.push(peer);
    }
    out
}

/// What a client calls itself, if it says no more than can be kept.
fn shortened(agent: &str) -> String {
    match agent.char_indices().nth(1024) {
        Some((at, _)) => format!("{}...TRUNCATED", &agent[..at]),
        None => agent.to_owned(),
    }
}

impl Auditor {
    fn facts(info: &Info, parts: &Parts, user: &UserInfo, id: &str) -> Facts {
        let agent = parts.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Facts {
            audit_id: id.to_owned(),
            request_uri: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            verb: info.verb.clone(),
            user: user.clone(),
            source_ips: source_ips(parts),
            user_agent: shortened(agent),
            is_resource: info.is_resource,
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: selected_name(info),
            received: jiff::Timestamp::now(),
        }
    }

    /// Begins to keep a request of a user who has shown a good credential; an error when its first event could not be
    /// written and must be.
    pub(crate) async fn begin(
        &self,
        info: &Info,
        parts: &Parts,
        user: &UserInfo,
        id: &str,
    ) -> Result<Option<Arc<Current>>, ApiError> {
        let name = selected_name(info);
        let subject = Subject {
            user: &user.name,
            groups: &user.groups,
            verb: &info.verb,
            is_resource: info.is_resource,
            path: &info.path,
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &name,
        };
        let decision = self.policy.decide(&subject);
        self.backends.decided(decision.level);
        if decision.level == Level::None {
            return Ok(None);
        }
        let Some(current) = Current::begin(Self::facts(info, parts, user, id), decision, &self.backends) else {
            return Ok(None);
        };
        if !current.tell(Stage::RequestReceived).await {
            self.backends.refused();
            return Err(ApiError::internal("failed to store audit event"));
        }
        Ok(Some(current))
    }

    /// Keeps a request whose credential was not good.
    pub(crate) async fn refused(&self, info: &Info, parts: &Parts, id: &str) {
        let nobody = UserInfo::default();
        if let Ok(Some(current)) = self.begin(info, parts, &nobody, id).await {
            let message = match attempted(info, parts).as_slice() {
                [] => "Authentication failed, no credentials provided".to_owned(),
                ways => format!("Authentication failed, attempted: {}", ways.join(", ")),
            };
            annotate(&current, info);
            current.response(
                401,
                Some(json!({"kind": "Status", "status": "Failure", "message": message, "reason": "Unauthorized"})),
            );
            current.tell(Stage::ResponseStarted).await;
        }
    }
}

/// The sorts of credentials that a request brings along.
fn attempted(info: &Info, parts: &Parts) -> Vec<&'static str> {
    let header = parts.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let scheme = header.trim().split_once(' ').map(|(scheme, _)| scheme.to_lowercase()).unwrap_or_default();
    let certificate = parts.extensions.get::<Connection>().is_some_and(|c| !c.certificates.is_empty());
    let ways = [
        (scheme == "basic", "basic"),
        (scheme == "bearer", "bearer"),
        (!info.query.get("access_token").trim().is_empty(), "access_token"),
        (certificate, "x509"),
    ];
    ways.into_iter().filter(|(is, _)| *is).map(|(_, way)| way).collect()
}

impl Auditor {
    /// What the metrics tell of the audit.
    pub(crate) fn render(&self, out: &mut String) {
        let counts = self.backends.counts();
        totals(out, counts.events, counts.refused);
        if !counts.errors.is_empty() {
            let name = "apiserver_audit_error_total";
            let help = "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.";
            head(out, name, "counter", "ALPHA", help);
            for (plugin, count) in &counts.errors {
                sample(out, name, &[("plugin", plugin)], count);
            }
        }
        let name = "apiserver_audit_level_total";
        head(out, name, "counter", "ALPHA", "Counter of policy levels for audit events (1 per request).");
        for (level, count) in counts.levels.iter().filter(|(_, count)| *count > 0) {
            sample(out, name, &[("level", level)], count);
        }
    }
}

/// Events and refusals, which are told also where nothing is audited.
pub(crate) fn totals(out: &mut String, events: u64, refused: u64) {
    let name = "apiserver_audit_event_total";
    head(out, name, "counter", "ALPHA", "Counter of audit events generated and sent to the audit backend.");
    sample(out, name, &[], events);
    let name = "apiserver_audit_requests_rejected_total";
    let help = "Counter of apiserver requests rejected due to an error in audit logging backend.";
    head(out, name, "counter", "ALPHA", help);
    sample(out, name, &[], refused);
}

/// Writes what admission noted into the record.
fn annotate(current: &Current, info: &Info) {
    for note in info.annotations.list() {
        if !note.shows_request || current.level() >= ironclad_audit::Level::Request {
            current.annotate(&note.key, &note.value);
        }
    }
}

/// Notes how a request failed.
pub(crate) fn failed(error: &ApiError) {
    // Whoever cannot be answered is told by whom that is found out.
    let told = (error.code != 406).then(|| error.to_status());
    ironclad_audit::note(|current| current.response(error.code, told));
}

/// Whether an answer says that the client cannot be answered at all: such an error is told by its code alone.
fn is_unfit(info: &Info, code: u16) -> bool {
    info.is_resource && code == 406
}

/// Tells the end of a request, or the beginning of a long answer and its end when it comes.
pub(crate) async fn finish(slot: &Slot, info: &Info, panicked: bool, response: Response<Body>) -> Response<Body> {
    let Some(current) = slot.get() else { return response };
    annotate(current, info);
    let code = response.status().as_u16();
    if panicked {
        let status =
            json!({"kind": "Status", "status": "Failure", "reason": "InternalError", "message": "APIServer panic'd"});
        current.response(code, Some(status));
        current.tell(Stage::Panic).await;
        return response;
    }
    if info.is_long() && code < 400 {
        current.response(code, None);
        current.tell(Stage::ResponseStarted).await;
        let current = current.clone();
        return response.map(|body| Watched { body, current }.boxed_unsync());
    }
    let long = info.is_long();
    let (head, body) = response.into_parts();
    let wanted = is_object(&head.headers)
        && head.headers.get(http::header::CONTENT_ENCODING).is_none()
        && !is_unfit(info, code)
        // What became of a deletion is told as its status.
        && (code >= 400 || info.verb == "delete" || current.level() == Level::RequestResponse);
    if !wanted {
        match is_unfit(info, code) {
            true => current.response(code, None),
            false => current.answered(code),
        }
        if long {
            current.tell(Stage::ResponseStarted).await;
        }
        current.tell(Stage::ResponseComplete).await;
        return Response::from_parts(head, body);
    }
    let (value, body) = match body.collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            let value = crate::registry::decode(&head.headers, &bytes).ok().map(|input| input.value);
            (value.filter(|v| v.get("kind").is_some()), crate::body::full(bytes))
        }
        Err(error) => {
            tracing::debug!(%error, "an answer ended early");
            (None, crate::body::full(Bytes::new()))
        }
    };
    current.response(code, value);
    if long {
        current.tell(Stage::ResponseStarted).await;
    }
    current.tell(Stage::ResponseComplete).await;
    Response::from_parts(head, body)
}

/// Whether an answer may be an object, in whatever form.
fn is_object(headers: &HeaderMap) -> bool {
    let media = headers.get(http::header::CONTENT_TYPE).and_then(|t| t.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    matches!(media, "application/json" | "application/yaml" | "application/vnd.kubernetes.protobuf")
}

/// A body whose end is told.
struct Watched {
    body: Body,
    current: Arc<Current>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.current.tell_now(Stage::ResponseComplete);
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
