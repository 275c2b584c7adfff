//! One request that was let in, from its head to its answer.

use crate::accept::{Accepted, Media, Offer, View};
use crate::authn::Refused;
use crate::binary;
use crate::pages::{flags, logs};
use crate::registry::{Answer, Answered, Checked, DeleteOptions, Input, Registry, Request, options};
use crate::request::Info;
use crate::respond;
use crate::server::{Connection, Inner};
use crate::special::{components, socket};
use crate::{Body, accept, body, catalog, discovery, encode, nonresource, registry, routes, table};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, GroupVersionKind, Reason, UserInfo, features, names, object};
use ironclad_json::{Value, json};
use ironclad_kinds::{Kind, Verb};
use ironclad_schema::{bundle, proto};
use std::sync::Arc;

/// The answer to a request of which nobody could say whether it may go on.
fn undecided(uri: &http::Uri, why: &str) -> Response<Body> {
    crate::audited::failed(&ApiError::internal(why));
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let path = path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = format!("Internal Server Error: {}: {why}\n", ironclad_api::go_quote(&path));
    let mut answer = respond::text(StatusCode::INTERNAL_SERVER_ERROR, text);
    answer.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.extensions_mut().insert(Unserved);
    answer
}

/// Marks the answer of a request that its user may not make: it is none of those that are counted by what they are about.
#[derive(Clone, Copy)]
pub(crate) struct Unserved;

/// Answers a request that was let in, if its user may ask it.
pub(crate) async fn answer(
    inner: &Arc<Inner>,
    info: &Info,
    user: &UserInfo,
    request: http::Request<Body>,
) -> Result<Response<Body>, ApiError> {
    if let Err(refused) = inner.authorize(user, info).await {
        let error = match refused {
            Refused::Forbidden(error) => error,
            Refused::Unknown(why) => return Ok(undecided(request.uri(), &why)),
        };
        crate::audited::failed(&error);
        let cbor = inner.gates.enabled(ironclad_api::features::CBOR);
        let mut refused = crate::respond::error(&error, Accepted::of_error(request.headers(), &info.query, cbor));
        refused.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        refused.extensions_mut().insert(Unserved);
        return Ok(refused);
    }
    if let Some(remote) = inner.aggregator.of_path(&info.path) {
        return Ok(remote.pass(user, request).boxed().await);
    }
    if !info.is_resource {
        if let Some(response) = discovery::answer(inner, info, request.headers()) {
            routes::check_document(request.method(), &info.path)?;
            return response;
        }
        if let Some(media) = routes::document(info.path.strip_suffix('/').unwrap_or(&info.path)) {
            routes::check_document(request.method(), &info.path)?;
            accept::only(request.headers(), &[media])?;
        }
        if flags::is_here(inner, &info.path) {
            return Ok(flags::answer(inner, &info.path, request).await);
        }
        if inner.about.logs && logs::is_here(&info.path) {
            return logs::answer(&info.path, request.headers()).await;
        }
        let (head, body) = request.into_parts();
        // A client that is still writing when its connection ends may not see its answer.
        body::pass_over(body).await;
        return nonresource::answer(inner, info, &head.headers).await;
    }
    let table = inner.catalog.now();
    let kind = match placed(&table, info) {
        Ok(kind) => kind,
        // Only in groups of its own stock's router says what it misses.
        Err(_) if !table.group(&info.group).is_some_and(|g| g.is_built_in()) => return Ok(respond::nothing_there()),
        Err(error) => return Err(error),
    };
    route(inner, info, &kind, &request)?;
    let deprecated = Some(&kind).and_then(|k| match &k.custom {
        Some(custom) => custom.warning.clone(),
        None => k.deprecation.as_ref().map(|d| {
            inner.metrics.requests.deprecated(k, &info.subresource, &d.removed);
            ironclad_audit::annotate("k8s.io/deprecated", "true");
            if !d.removed.is_empty() {
                ironclad_audit::annotate("k8s.io/removed-release", &d.removed);
            }
            d.warning.clone()
        }),
    });
    let answer = resource(inner, info, user, (&table, &kind), request).await;
    let Some(warning) = deprecated else { return answer };
    match answer {
        Ok(mut response) => {
            respond::warn_first(&mut response, &warning);
            Ok(response)
        }
        Err(mut error) => {
            error.warnings.insert(0, warning);
            Err(error)
        }
    }
}

fn no_such_path() -> ApiError {
    ApiError::no_such_path()
}

/// Refuses what stock's router refuses, before anybody looks closer.
fn route<B>(inner: &Inner, info: &Info, kind: &Kind, raw: &http::Request<B>) -> Result<(), ApiError> {
    routes::check(raw.method(), info, kind)?;
    check_segments(info)?;
    // What somebody else answers is theirs to negotiate.
    if kind.custom.is_none() && !passes_on(kind, info) {
        let streams = matches!(&*info.verb, "list" | "watch");
        accept::router(raw.headers(), streams, inner.gates.enabled(features::CBOR))?;
    }
    Ok(())
}

async fn resource(
    inner: &Arc<Inner>,
    info: &Info,
    user: &UserInfo,
    (table, kind): (&catalog::Table, &Arc<Kind>),
    raw: http::Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let stored = table.stored(&kind.storage_group, &kind.plural).unwrap_or(kind).clone();
    let headers = raw.headers().clone();
    let passes = passes_on(kind, info);
    let accept = if passes { Accepted::JSON } else { Accepted::of(&headers, &info.query, offered(inner, kind, info))? };
    let request = Request {
        kind,
        stored: &stored,
        info,
        user,
        user_agent: headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default(),
        accept,
        table,
        conversions: &registry::Conversions::default(),
    };
    if passes {
        connect(inner, &request).await?;
        return inner.pass_on(&request, raw).boxed().await;
    }
    check_question(&request)?;
    match &*info.verb {
        "list" | "get" if is_told(kind) && info.name.is_empty() => components::list(inner, &request).await,
        "list" if info.subresource.is_empty() && kind.allows(Verb::List) => inner.registry.list(&request).await,
        "watch" if is_told(kind) => {
            let message = format!("watch is not supported on resources of kind \"{}\"", kind.plural);
            let error = ApiError::new(Reason::MethodNotAllowed, message);
            Err(error.about(&kind.group_resource(), ""))
        }
        "watch" if info.subresource.is_empty() && kind.allows(Verb::Watch) => watch(inner, &request, raw).boxed().await,
        _ => once(inner, &request, raw).await,
    }
}

/// The kind that a path names, if the path is one at which the kind is.
fn placed(table: &catalog::Table, info: &Info) -> Result<Arc<Kind>, ApiError> {
    let kind = table.find(&info.group, &info.version, &info.resource).cloned().ok_or_else(no_such_path)?;
    // Whoever may do something in a namespace must not get at what is the cluster's below its path (CVE-2019-11247).
    let itself = &*kind.plural == "namespaces" && kind.group.is_empty() && info.name == info.namespace;
    let below_a_namespace = !kind.namespaced && !info.namespace.is_empty() && !itself;
    let reviewed = kind.verbs == Verb::CREATE && info.verb == "create";
    let of_no_namespace = kind.namespaced && info.namespace.is_empty();
    let elsewhere = of_no_namespace && !reviewed && !info.name.is_empty();
    if below_a_namespace || elsewhere {
        return Err(no_such_path());
    }
    Ok(kind)
}

/// The forms in which a kind can be answered.
fn offered(inner: &Inner, kind: &Kind, info: &Info) -> Offer {
    Offer {
        protobuf: proto::message(bundle(), &kind.gvk()).is_some(),
        table: kind.verbs != Verb::CREATE,
        watch: info.verb == "watch",
        cbor: inner.gates.enabled(features::CBOR),
    }
}

/// Refuses what can be told from the query and the wanted form alone.
fn check_question(request: &Request<'_>) -> Result<(), ApiError> {
    let Request { info, kind, accept, .. } = request;
    info.query.check_numbers(&["limit", "timeoutSeconds"])?;
    if accept.view == View::Table {
        table::check_options(&info.query)?;
    }
    match &*info.verb {
        "list" => accept.must_fit(true, &registry::in_go(kind, true)),
        _ => Ok(()),
    }
}

/// Answers with events as they come, over a WebSocket where one is asked for.
async fn watch(
    inner: &Arc<Inner>,
    request: &Request<'_>,
    mut raw: http::Request<Body>,
) -> Result<Response<Body>, ApiError> {
    if request.info.query.has("sendInitialEvents") && !inner.gates.enabled(features::WATCH_LIST) {
        return Err(registry::no_initial_events());
    }
    let socket = socket::key(raw.headers()).map(|key| (key, hyper::upgrade::on(&mut raw)));
    let events = inner.registry.watch(request).await?;
    let framing = match request.accept.media {
        Media::Protobuf | Media::Cbor => socket::Framing::Lengths,
        Media::Json | Media::Yaml => socket::Framing::Lines,
    };
    Ok(match socket {
        Some((key, connection)) => socket::upgrade(&key, raw.headers(), connection, events, framing),
        None => events,
    })
}

/// What the audit shows of a body before it was understood: a patch as it came, options in the version in which stock
/// works with them. An object is told when it was understood.
fn sent(request: &Request<'_>, mut body: Value) -> Option<Value> {
    match &*request.info.verb {
        "delete" | "deletecollection" if body.is_object() => {
            // What is something else is not understood.
            if !matches!(body["kind"].as_str(), None | Some("DeleteOptions")) {
                return None;
            }
            body["kind"] = "DeleteOptions".into();
            body["apiVersion"] = "meta.k8s.io/__internal".into();
            Some(body)
        }
        "create" | "update" if request.info.subresource.is_empty() && request.info.resource != "bindings" => None,
        "create" | "update" if body.is_object() => Some(completed(request, body)),
        _ => Some(body),
    }
}

/// An object of a subresource with its type and the fields that Go's types always write.
fn completed(request: &Request<'_>, mut body: Value) -> Value {
    let below = request.kind.subresource(&request.info.subresource).and_then(|s| s.kind.clone());
    let gvk = match below {
        Some((group, version, kind)) => GroupVersionKind::new(&group, &version, &kind),
        None => request.kind.gvk(),
    };
    body["apiVersion"] = ironclad_api::resource::api_version(&gvk.group, &gvk.version).into();
    body["kind"] = gvk.kind.clone().into();
    if let Some(id) = ironclad_schema::bundle().kind(&gvk) {
        ironclad_schema::bundle().complete_all(id, &mut body);
    }
    body
}

/// Reads the whole body and answers with one object.
async fn once(inner: &Arc<Inner>, request: &Request<'_>, raw: http::Request<Body>) -> Result<Response<Body>, ApiError> {
    let cbor = inner.gates.enabled(features::CBOR);
    let (head, body) = raw.into_parts();
    let bytes = body::read(body).await?;
    if !bytes.is_empty() {
        let inside = head.extensions.get::<Connection>().is_none();
        inner.metrics.requests.sent(request.info, bytes.len(), inside);
    }
    let (headers, bytes) = if cbor { binary::incoming(&head.headers, bytes)? } else { (head.headers, bytes) };
    ironclad_audit::note(|current| current.request(|| sent(request, registry::decode(&headers, &bytes).ok()?.value)));
    let answer = act(inner, &inner.registry, request, &headers, &bytes).await;
    let answer = if cbor { answer.map_err(binary::told)? } else { answer? };
    // Only what there is can be of the wrong sort.
    if matches!(&*request.info.verb, "get" | "create" | "update" | "patch") {
        request.accept.must_fit(false, &registry::in_go(request.kind, false))?;
    }
    ironclad_audit::note(|current| {
        if current.level() == ironclad_audit::Level::RequestResponse {
            let object = match &answer.object {
                Answered::Stored(bytes) => request.to_requested(encode::decode(bytes)),
                Answered::Value(value) => value.clone(),
            };
            current.response(answer.code, Some(object));
        }
    });
    Ok(finish(&inner.registry, request, answer))
}

/// Refuses names that would be more than one segment of a path: they would mean something else to the store, to a
/// kubelet or to whoever decided about them.
fn check_segments(info: &Info) -> Result<(), ApiError> {
    for (what, value) in [("Namespace", &info.namespace), ("Name", &info.name), ("Subresource", &info.subresource)] {
        if let Some(why) = names::path_segment(value).into_iter().next().filter(|_| !value.is_empty()) {
            return Err(ApiError::bad_request(format!("{what} parameter invalid: {value:?}: {why}")));
        }
    }
    Ok(())
}

/// Whether objects are made when they are asked for.
fn is_told(kind: &Kind) -> bool {
    kind.group.is_empty() && &*kind.plural == "componentstatuses"
}

/// Whether somebody else answers.
fn passes_on(kind: &Kind, info: &Info) -> bool {
    matches!(
        (&*kind.plural, &*info.subresource),
        ("pods", "exec" | "attach" | "portforward" | "log" | "proxy") | ("services" | "nodes", "proxy")
    )
}

/// Lets admission see a connection into a pod.
async fn connect(inner: &Arc<Inner>, request: &Request<'_>) -> Result<(), ApiError> {
    if request.info.subresource == "log" {
        return Ok(());
    }
    let options = connect_options(request);
    let mut admission = request.admission(ironclad_admission::Operation::Connect, Some(options), None, Value::Null)?;
    admission.kind = object::gvk(admission.object.as_ref().unwrap_or(&Value::Null));
    inner.registry.admission.admit(&mut admission).await?;
    inner.registry.admission.validate(&mut admission).await
}

/// What is asked of a connection, as the object that admission sees: `PodExecOptions` and its sisters.
fn connect_options(request: &Request<'_>) -> Value {
    let (query, info) = (request.query(), request.info);
    let streams = |kind: &str| {
        let mut options = json!({"kind": kind, "apiVersion": "v1"});
        for stream in ["stdin", "stdout", "stderr", "tty"] {
            if query.flag(stream) {
                options[stream] = json!(true);
            }
        }
        if query.has("container") {
            options["container"] = json!(query.get("container"));
        }
        options
    };
    match (&*request.kind.plural, &*info.subresource) {
        ("pods", "exec") => {
            let mut options = streams("PodExecOptions");
            options["command"] = json!(query.0.get("command").cloned().unwrap_or_default());
            options
        }
        ("pods", "attach") => streams("PodAttachOptions"),
        ("pods", "portforward") => {
            let ports: Vec<i64> = query
                .0
                .get("ports")
                .into_iter()
                .flatten()
                .flat_map(|p| p.split(','))
                .filter_map(|p| p.parse().ok())
                .collect();
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": ports})
        }
        (plural, _) => {
            let kind = match plural {
                "pods" => "PodProxyOptions",
                "services" => "ServiceProxyOptions",
                _ => "NodeProxyOptions",
            };
            let mut options = json!({"kind": kind, "apiVersion": "v1"});
            let slash = if info.path.ends_with('/') && !info.rest.ends_with('/') { "/" } else { "" };
            match info.rest.as_str() {
                "" if slash.is_empty() => {}
                "" => options["path"] = json!("/"),
                rest => options["path"] = json!(format!("/{rest}{slash}")),
            }
            options
        }
    }
}

/// Boxed is what is larger than a get, which needs no room for it.
async fn act(
    inner: &Arc<Inner>,
    registry: &Arc<Registry>,
    request: &Request<'_>,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Result<Answer, ApiError> {
    let (kind, info) = (request.kind, request.info);
    let input = || registry::decode_as(headers, bytes, &kind.kind);
    let refused = || {
        let message = format!("{:?} is not supported on resources of kind \"{}\"", info.verb, kind.group_resource());
        Err(ApiError::new(Reason::MethodNotAllowed, message))
    };
    if info.verb != "patch" {
        options::check(request, None)?;
    }
    match (&*info.subresource, &*info.verb) {
        ("", "create") if kind.verbs == Verb::CREATE && &*kind.plural != "bindings" => {
            let Checked { object: mut review, warnings, .. } = request.check(kind, input()?)?;
            request.tell_sent(&review);
            request.track(&Value::Null, &mut review);
            let admitted = registry.admitted(request, review).boxed().await.map_err(|e| e.warned(warnings.clone()))?;
            inner.review(request, admitted, warnings.clone()).await.map_err(|e| e.warned(warnings))
        }
        ("", "create") if &*kind.plural == "bindings" => bind(inner, request, input()?).boxed().await,
        ("", "create") if kind.custom.as_ref().is_some_and(|c| c.terminating) => {
            let message = "create not allowed while custom resource definition is terminating";
            Err(ApiError::new(Reason::MethodNotAllowed, message))
        }
        ("", "create") if kind.allows(Verb::Create) => registry.create(request, input()?).boxed().await,
        ("", "get") if is_told(kind) => components::get(inner, request).boxed().await,
        ("", "get") if kind.allows(Verb::Get) => registry.get(request).await,
        ("", "update") if kind.allows(Verb::Update) => registry.update(request, input()?).boxed().await,
        ("", "patch") if kind.allows(Verb::Patch) => registry.patch(request, headers, bytes).boxed().await,
        ("", "delete") if kind.allows(Verb::Delete) => {
            let body = delete_body(request, headers, bytes)?;
            let info = with_options(request, &body);
            let request = Request { info: &info, ..*request };
            options::check(&request, None)?;
            registry.delete(&request, &DeleteOptions::parse(&request, &body)?).boxed().await
        }
        ("", "deletecollection") if kind.allows(Verb::DeleteCollection) => {
            let body = delete_body(request, headers, bytes)?;
            let info = with_options(request, &body);
            let request = Request { info: &info, ..*request };
            options::check(&request, None)?;
            registry.delete_collection(&request, &DeleteOptions::parse(&request, &body)?).boxed().await
        }
        ("", _) => refused(),
        ("status" | "scale", _) if kind.custom.is_some() && kind.subresource(&info.subresource).is_none() => {
            Err(ApiError::not_found(&kind.group_resource(), &info.name))
        }
        (sub, _) if kind.subresource(sub).is_none() => Err(no_such_path()),
        ("scale", "get" | "update" | "patch") => registry.scale(request, headers, bytes).boxed().await,
        ("binding" | "eviction" | "token", "create") => {
            let (asked, warnings) = checked(request, input()?)?;
            let answer = asked_of(inner, registry, request, asked).boxed().await;
            answer.map(|answer| warned(answer, warnings.clone())).map_err(|e| e.warned(warnings))
        }
        ("finalize", "update") => registry.finalize(request, input()?).boxed().await,
        (_, "get") => registry.get(request).await,
        (_, "update") => registry.update(request, input()?).boxed().await,
        (_, "patch") => registry.patch(request, headers, bytes).boxed().await,
        _ => refused(),
    }
}

/// What is asked of an object by posting to a subresource of it.
async fn asked_of(
    inner: &Arc<Inner>,
    registry: &Arc<Registry>,
    request: &Request<'_>,
    asked: Value,
) -> Result<Answer, ApiError> {
    let info = request.info;
    match &*info.subresource {
        "binding" => {
            let binding = named(request, asked, "Binding")?;
            registry.bind(request, registry.admitted(request, binding).await?).await
        }
        "eviction" => evict(registry, request, asked).await,
        _ => {
            let asked = registry.admitted(request, asked).await?;
            let issued = inner.tokens.issue(&info.namespace, &info.name, &asked);
            let (token, remarks) = ironclad_auth::remarks::scope(issued).await;
            let token = token?;
            if let Some(id) = token_id(object::text(&token, &["status", "token"])) {
                info.annotations.add("authentication.kubernetes.io/issued-credential-id", format!("JTI={id}"));
            }
            Ok(Answer { warnings: remarks.warnings, ..Answer::value(201, token) })
        }
    }
}

/// The id that a token made here has.
fn token_id(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims["jti"].as_str().map(str::to_owned)
}

/// `DeleteOptions`, or nothing.
fn delete_body(request: &Request<'_>, headers: &HeaderMap, bytes: &Bytes) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    registry::told_type(headers)?;
    let mut input = registry::decode(headers, bytes)?;
    if input.value.is_null() {
        input.value = ironclad_json::json!({});
    }
    let (kind, version) = (object::text(&input.value, &["kind"]), object::text(&input.value, &["apiVersion"]));
    if !matches!(kind, "" | "DeleteOptions") {
        let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
        let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
        let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
        let why = format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}");
        return Err(ApiError::bad_request(why));
    }
    let gvk = GroupVersionKind::new("", "v1", "DeleteOptions");
    request.check_body(&gvk, input).map(|checked| checked.0).map_err(|mut error| {
        // Stock reads options without saying what they were to be.
        if let Some((_, why)) = error.message.split_once(" cannot be handled as a DeleteOptions: ") {
            error.message = why.to_owned();
        }
        error
    })
}

/// A body of the kind that a subresource takes.
fn checked(request: &Request<'_>, input: Input) -> Result<(Value, Vec<String>), ApiError> {
    let subresource = request.kind.subresource(&request.info.subresource);
    let Some((group, version, kind)) = subresource.and_then(|s| s.kind.as_ref()) else {
        return Ok((input.value, Vec::new()));
    };
    request.check_body(&GroupVersionKind::new(group, version, kind), input)
}

/// An answer that begins with these warnings.
fn warned(answer: Answer, mut warnings: Vec<String>) -> Answer {
    warnings.extend(answer.warnings);
    Answer { warnings, ..answer }
}

/// The request with what a body of options says of dry runs; what the query says counts only without a body.
fn with_options(request: &Request<'_>, body: &Value) -> Info {
    let mut info = request.info.clone();
    if !body.is_null() {
        info.query.0.remove("dryRun");
    }
    let given: Vec<String> =
        body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if !given.is_empty() {
        info.query.0.insert("dryRun".into(), given);
    }
    info
}

/// The old form of a binding, which names its pod itself.
async fn bind(inner: &Arc<Inner>, request: &Request<'_>, input: Input) -> Result<Answer, ApiError> {
    let binding = request.check(request.kind, input)?.object;
    let mut info = request.info.clone();
    let name = object::name(&binding);
    if name.is_empty() {
        return Err(ApiError::bad_request("Name parameter required."));
    }
    if let Some(why) = ironclad_api::names::path_segment(name).first() {
        return Err(ApiError::bad_request(format!("Name parameter invalid: {name:?}: {why}")));
    }
    name.clone_into(&mut info.name);
    let binding = inner.registry.admitted(&Request { info: &info, ..*request }, binding).await?;
    let pods = inner.kind_of("", "pods").ok_or_else(no_such_path)?;
    "binding".clone_into(&mut info.subresource);
    let request = Request { kind: &pods, stored: &pods, info: &info, ..*request };
    inner.registry.bind(&request, binding).await
}

/// What is sent below an object must be about that object.
fn named(request: &Request<'_>, object: Value, kind: &str) -> Result<Value, ApiError> {
    match object::name(&object) == request.info.name {
        true => Ok(object),
        false => Err(ApiError::bad_request(format!("name in URL does not match name in {kind} object"))),
    }
}

/// What an eviction and its request say of a dry run must be the same, where both say something.
fn dry_runs_agree(request: &Request<'_>, options: &Value) -> Result<(), ApiError> {
    let asked = request.query().0.get("dryRun").map(Vec::as_slice).unwrap_or_default();
    let inside: Vec<&str> = options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if asked.is_empty() || inside.is_empty() || asked.iter().eq(inside.iter()) {
        return Ok(());
    }
    let why = format!(
        "Non-matching dry-run options in request and content: [{}] and [{}]",
        asked.join(" "),
        inside.join(" ")
    );
    Err(ApiError { code: 500, ..ApiError::new(Reason::Unknown, why) })
}

async fn evict(registry: &Arc<Registry>, request: &Request<'_>, eviction: Value) -> Result<Answer, ApiError> {
    let eviction = named(request, eviction, "Eviction")?;
    dry_runs_agree(request, &eviction["deleteOptions"])?;
    let eviction = registry.admitted(request, eviction).await?;
    let entry = registry.entry(&request.key(&request.info.name)).await?.ok_or_else(|| request.not_found())?;
    let pod = encode::decode(entry.value.bytes());
    let mut body = eviction["deleteOptions"].clone();
    if request.dry_run() {
        if !body.is_object() {
            body = ironclad_json::json!({});
        }
        body["dryRun"] = ironclad_json::json!(["All"]);
    }
    let mut info = with_options(request, &body);
    info.subresource = String::new();
    "delete".clone_into(&mut info.verb);
    let inner = Request { info: &info, ..*request };
    options::check(&inner, None)?;
    let asked = DeleteOptions::parse(&inner, &body)?;
    registry.may_evict(&pod, inner.dry_run()).await?;
    if inner.dry_run() {
        registry.delete_admitted(&inner, &asked).await?;
    } else {
        let version = registry.mark_evicted(&inner, &asked).await?;
        if !body["preconditions"]["resourceVersion"].is_null() {
            // It was about the pod before the server itself marked it.
            body["preconditions"]["resourceVersion"] = ironclad_json::json!(version);
        }
        registry.delete_admitted(&inner, &DeleteOptions::parse(&inner, &body)?).await?;
    }
    Ok(Answer::value(
        201,
        ironclad_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

/// The answer in the form that the client accepts.
fn finish(registry: &Registry, request: &Request<'_>, answer: Answer) -> Response<Body> {
    let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::OK);
    let same = registry::same_version(request);
    let accepted = request.accept;
    let mut response = match answer.object {
        Answered::Stored(bytes) if same && accepted.is_plain() => respond::object(code, bytes),
        Answered::Stored(bytes) if same && accepted.view == View::Object && accepted.media == Media::Json => {
            respond::bytes(code, crate::pretty::indent(&bytes))
        }
        Answered::Stored(bytes) if same && accepted.view == View::Object && accepted.media == Media::Protobuf => {
            shared_protobuf(registry, request, code, &bytes)
        }
        other => {
            let value = match other {
                Answered::Stored(bytes) => request.to_requested(encode::decode(&bytes)),
                Answered::Value(value) => value,
            };
            let is_object = value["kind"] == *request.kind.kind;
            let value = match accepted.view {
                View::Table if is_object => table::of_object(request, &value),
                View::Partial if is_object => registry::partial_object(&value, accepted),
                _ => value,
            };
            respond::encoded(code, accepted, &value)
        }
    };
    respond::warn_all(&mut response, &answer.warnings);
    response
}

/// An object as protobuf, with the message that the cache shares if it holds these bytes.
fn shared_protobuf(registry: &Registry, request: &Request<'_>, code: StatusCode, bytes: &Bytes) -> Response<Body> {
    let cached = registry.caches.of(request.kind).and_then(|cache| cache.get(&request.key(&request.info.name)));
    let cached = cached.filter(|c| c.bytes.as_ptr() == bytes.as_ptr());
    let message = proto::message(bundle(), &request.kind.gvk());
    match cached.zip(message).map(|(cached, id)| cached.message(id)) {
        Some(Ok(message)) => {
            let pieces = proto::envelope(&request.kind.api_version(), &request.kind.kind, [message]);
            let mut response = respond::pieces(Media::Protobuf, pieces);
            *response.status_mut() = code;
            response
        }
        _ => respond::encoded(code, request.accept, &encode::decode(bytes)),
    }
}
