//! The front door: every request is timed, counted, told apart by its user, and let in when it is its turn.
//!
//! Invariant: a write that has begun runs to its end, whatever becomes of its client: what it reserved is kept exactly
//! when it was stored.

use crate::accept::{self, Accepted};
use crate::audited::{self, Slot};
use crate::flow::{Class, Question, Seat, Why, Work};
use crate::limits::{Permit, WRITE, too_long, unanswered};
use crate::metrics::{Running, Step};
use crate::request::Info;
use crate::respond;
use crate::server::{Connection, Inner};
use crate::{Body, body, compress, handler};
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::BodyExt;
use ironclad_api::{ApiError, UserInfo, features};
use ironclad_audit::Current;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FLOW_SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Serves one request. Its body is of one kind from here on, so that the machine code of what follows is there once.
pub(crate) fn serve<B>(inner: &Arc<Inner>, request: http::Request<B>) -> impl Future<Output = Response<Body>> + Send
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    served(inner, request.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// A panic becomes an answer.
async fn served(inner: &Arc<Inner>, request: http::Request<Body>) -> Response<Body> {
    let info = Info::of(&request);
    let (gzip, errors) = (
        accept::gzip(request.headers()),
        Accepted::of_error(request.headers(), &info.query, inner.gates.enabled(features::CBOR)),
    );
    let began = Instant::now();
    let inside = request.extensions().get::<Connection>().is_none();
    if !inside && inner.is_draining() {
        return respond::going_away();
    }
    let slot = Slot::default();
    let id = audited::id(request.headers());
    let closing = request.version() == http::Version::HTTP_2 && inner.turns_away();
    let answer = AssertUnwindSafe(timed(inner, &info, request, errors, (&slot, &id))).catch_unwind().await;
    let panicked = answer.is_err();
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => respond::error(&error, errors),
        Err(_) => {
            tracing::error!(path = info.path, "a request panicked");
            let why = "this request caused apiserver to panic. Look in the logs for details.";
            respond::error(&ApiError::internal(why), errors)
        }
    };
    let mut response = audited::finish(&slot, &info, panicked, response).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("audit-id", id);
    }
    if gzip && inner.gates.enabled(features::API_RESPONSE_COMPRESSION) && !info.is_long() && info.subresource != "proxy"
    {
        response = compress::compress(response);
    }
    if closing {
        // On HTTP/2 the connection is told GOAWAY once the answer is out; see the listener.
        response.extensions_mut().insert(GoAway);
    }
    let code = response.status().as_u16();
    let size = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
    let unserved = info.is_resource && matches!(code, 405 | 406);
    if !unserved && response.extensions().get::<handler::Unserved>().is_none() {
        inner.metrics.requests.done(&info, inner.knows(&info), code, began.elapsed(), size);
    }
    if inside {
        inner.metrics.requests.inside(&info, inner.knows(&info), code, began.elapsed(), size);
    }
    response
}

/// Says to the listener that the client is to open another connection.
#[derive(Clone, Copy)]
pub(crate) struct GoAway;

async fn timed(
    inner: &Arc<Inner>,
    info: &Info,
    request: http::Request<Body>,
    errors: Accepted,
    audit: (&Slot, &str),
) -> Result<Response<Body>, ApiError> {
    if info.is_long() {
        return enter(inner, info, request, errors, audit).await;
    }
    let longest = deadline(info, inner.load.request_timeout)?;
    let write = info.is_resource && mutates(info) && longest >= WRITE;
    let longest = if write { WRITE } else { longest };
    tokio::time::timeout(longest, enter(inner, info, request, errors, audit)).await.unwrap_or_else(|_| {
        inner.metrics.requests.timed_out();
        Err(if write { unanswered() } else { too_long() })
    })
}

/// How long a request may take: as long as it says, but not longer than the server allows.
fn deadline(info: &Info, most: Duration) -> Result<Duration, ApiError> {
    let text = info.query.get("timeout");
    if text.is_empty() {
        return Ok(most);
    }
    match ironclad_api::time::go_duration(text) {
        Some(Duration::ZERO) => Ok(most),
        Some(given) => Ok(given.min(most)),
        // What should have ended already is let run as long as any other.
        None if text.strip_prefix('-').and_then(ironclad_api::time::go_duration).is_some() => Ok(most),
        None => {
            let why = format!("invalid timeout specified in the request URL - time: invalid duration {text:?}");
            Err(ApiError::bad_request(why))
        }
    }
}

/// What a request holds while it is served.
#[allow(dead_code, reason = "what is held is given back when it is dropped")]
struct Held {
    seat: Option<Seat>,
    permit: Option<Permit>,
    running: Option<Running>,
}

async fn enter(
    inner: &Arc<Inner>,
    info: &Info,
    request: http::Request<Body>,
    errors: Accepted,
    (slot, id): (&Slot, &str),
) -> Result<Response<Body>, ApiError> {
    let (parts, body) = request.into_parts();
    let (found, warnings) = inner.authenticated(info, &parts).await;
    let real = match found {
        Ok(user) => user,
        Err(error) => {
            if let Some(auditor) = &inner.auditor {
                auditor.refused(info, &parts, id).await;
            }
            return Err(error);
        }
    };
    let current = match &inner.auditor {
        Some(auditor) => {
            let began = Instant::now();
            let begun = auditor.begin(info, &parts, &real, id).await;
            inner.metrics.doors.step(Step::Audit, began.elapsed());
            begun?
        }
        None => None,
    };
    if let Some(current) = &current {
        slot.get_or_init(|| current.clone());
    }
    let request = http::Request::from_parts(parts, body);
    let answer = ironclad_audit::scope(current.clone(), admitted(inner, info, real, request, errors, current)).await;
    answer.map(|mut response| {
        warnings.iter().for_each(|warning| respond::warn(&mut response, warning));
        response
    })
}

/// Serves a request whose sender is known.
async fn admitted(
    inner: &Arc<Inner>,
    info: &Info,
    real: UserInfo,
    request: http::Request<Body>,
    errors: Accepted,
    current: Option<Arc<Current>>,
) -> Result<Response<Body>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let began = Instant::now();
    let user = inner.impersonated(real, info, &parts).await.inspect_err(audited::failed)?;
    inner.metrics.doors.step(Step::Impersonation, began.elapsed());
    inner.forget_credentials(&mut parts.headers);
    let request = http::Request::from_parts(parts, body);
    let mutating = mutates(info);
    let began = Instant::now();
    let turn = inner.turn(info, &user, mutating).await;
    inner.metrics.doors.step(Step::Fairness, began.elapsed());
    let (class, held) = match turn {
        Ok(held) => held,
        Err(class) => {
            inner.metrics.requests.refused(mutating);
            return Ok(marked(respond::too_many(), class.as_deref()));
        }
    };
    let answer = match mutating && !info.is_long() {
        true => to_its_end(inner, info, user, request, held, current).await,
        false => {
            // In a place of its own, so that writes, which go elsewhere, need no room for it here.
            let answer = Box::pin(handler::answer(inner, info, &user, request)).await;
            match held.running {
                // It counts as running until its body ends.
                Some(running) => answer.map(|a| a.map(|body| body::with(body, running))),
                None => answer,
            }
        }
    };
    let answer = answer.inspect_err(audited::failed);
    answer.or_else(|error| Ok(respond::error(&error, errors))).map(|response| marked(response, class.as_deref()))
}

/// Serves a write in a task of its own, which goes on when the client or the time is gone.
async fn to_its_end(
    inner: &Arc<Inner>,
    info: &Info,
    user: UserInfo,
    request: http::Request<Body>,
    held: Held,
    current: Option<Arc<Current>>,
) -> Result<Response<Body>, ApiError> {
    let (inner, info) = (inner.clone(), info.clone());
    // Boxed: the runtime moves the future of a task many times.
    let writing = tokio::spawn(ironclad_audit::scope(
        current,
        Box::pin(async move {
            let answer = handler::answer(&inner, &info, &user, request).await;
            drop(held);
            answer
        }),
    ));
    match writing.await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(ApiError::internal(error)),
        },
    }
}

fn mutates(info: &Info) -> bool {
    match info.is_resource {
        true => !matches!(&*info.verb, "get" | "list" | "watch"),
        false => !matches!(&*info.verb, "get" | "head" | "options"),
    }
}

fn marked(mut response: Response<Body>, class: Option<&Class>) -> Response<Body> {
    let Some(class) = class else { return response };
    for (name, uid) in [(FLOW_SCHEMA, &class.schema_uid), (PRIORITY_LEVEL, &class.level_uid)] {
        if let Ok(value) = HeaderValue::from_str(uid) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

impl Inner {
    /// Waits for the request's turn; `Err` when there is none for it.
    async fn turn(
        &self,
        info: &Info,
        user: &UserInfo,
        mutating: bool,
    ) -> Result<(Option<Arc<Class>>, Held), Option<Arc<Class>>> {
        let long = info.is_long();
        let running = long.then(|| self.metrics.requests.begin(info));
        let mut held = Held { seat: None, permit: None, running: None };
        if long && info.verb != "watch" {
            held.running = running;
            return Ok((None, held));
        }
        held.running = running;
        let class = match self.load.priority_and_fairness {
            true => {
                let work = |most: u32| self.work(info, mutating, most);
                let (class, seat) = self.fairness.enter(user, &question(info), work).await;
                match seat {
                    Ok(seat) => held.seat = Some(seat),
                    Err(Why::QueueFull | Why::ConcurrencyLimit | Why::TimeOut) => return Err(Some(class)),
                }
                Some(class)
            }
            false => {
                held.permit = self.limits.enter(mutating, user);
                if held.permit.is_none() {
                    return Err(None);
                }
                None
            }
        };
        if held.permit.is_none() {
            held.permit = Some(self.limits.count(mutating));
        }
        Ok((class, held))
    }

    /// The work of a request, whose level lets one request have so many seats.
    fn work(&self, info: &Info, mutating: bool, most: u32) -> Work {
        let cache = || self.kind_of(&info.group, &info.resource).and_then(|k| self.registry.caches.of(&k));
        if !info.is_resource {
            return Work::ONE;
        }
        if mutating {
            // A token is no object: nobody is told of it.
            let told = info.resource != "serviceaccounts" || info.subresource != "token";
            let watchers = cache().filter(|_| told).map_or(0, |c| c.interested(&info.namespace, &info.name));
            return Work::of_write(watchers, most);
        }
        let lists = match &*info.verb {
            "list" => info.name.is_empty(),
            // Old watches begin with what is there, too.
            "watch" => info.query.flag("sendInitialEvents") || matches!(info.query.get("resourceVersion"), "" | "0"),
            _ => false,
        };
        let Some(cache) = cache().filter(|_| lists) else { return Work::ONE };
        let (count, bytes) = cache.size();
        let limit = info.query.number("limit").filter(|l| *l > 0).map(|l| l as usize);
        Work::of_list(count, bytes, limit, most)
    }

    /// Whether a client is told to connect anew, so that in time clients spread over several servers.
    fn turns_away(&self) -> bool {
        self.load.goaway_chance > 0.0 && fastrand::f64() < self.load.goaway_chance
    }

    /// Whether the request's resource is one that the server has: only those get labels of their own.
    fn knows(&self, info: &Info) -> bool {
        info.is_resource
            && self
                .catalog
                .now()
                .find(&info.group, &info.version, &info.resource)
                .is_some_and(|kind| info.subresource.is_empty() || kind.subresource(&info.subresource).is_some())
    }
}

fn question(info: &Info) -> Question<'_> {
    Question {
        verb: &info.verb,
        path: &info.path,
        is_resource: info.is_resource,
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        version: &info.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_shorten_its_time_but_not_lengthen_it() {
        let most = Duration::from_mins(1);
        let of = |query: &str| {
            let request = http::Request::builder().uri(format!("/version{query}")).body(()).unwrap();
            deadline(&Info::of(&request), most)
        };
        assert_eq!(of("").unwrap(), most);
        assert_eq!(of("?timeout=3m").unwrap(), most);
        assert_eq!(of("?timeout=0s").unwrap(), most);
        assert_eq!(of("?timeout=1.5s").unwrap(), Duration::from_millis(1500));
        let error = of("?timeout=invalid").unwrap_err();
        assert_eq!(error.code, 400);
        assert!(error.message.contains("invalid timeout specified in the request URL"), "{}", error.message);
    }
}
