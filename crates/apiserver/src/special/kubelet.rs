//! Requests that a kubelet or a pod answers: logs, exec, attach, port forward, proxies.

use super::{rewrite, socket, streams};
use crate::Body;
use crate::metrics::rare;
use crate::registry::Request;
use crate::request::Info;
use crate::server::Inner;
use http::header::{ACCEPT_ENCODING, CONNECTION, HOST, HeaderName, LOCATION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use ironclad_api::labels::Labels;
use ironclad_api::{ApiError, GroupResource, Reason, object};
use ironclad_json::Value;
use ironclad_remote::Connection;
use ironclad_streaming::Relay;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use tokio_rustls::TlsConnector;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Where a request goes on to.
struct Target {
    address: SocketAddr,
    tls: bool,
    path: String,
    /// Takes every protocol over WebSocket; else those that need it are translated.
    sockets: bool,
}

fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    object::at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The container that a request means.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let groups = ["containers", "initContainers", "ephemeralContainers"];
    let of = |group: &str| -> Vec<String> {
        list(pod, &["spec", group]).iter().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let name = object::name(pod);
    if !asked.is_empty() {
        if groups.iter().any(|g| of(g).iter().any(|c| c == asked)) {
            return Ok(asked.to_owned());
        }
        return Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    let annotated = object::text(pod, &["metadata", "annotations", DEFAULT_CONTAINER]);
    let main = of("containers");
    if main.iter().any(|c| c == annotated) {
        return Ok(annotated.to_owned());
    }
    match main.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
        many => {
            let mut choose =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
            let inits = of("initContainers");
            if !inits.is_empty() {
                choose.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
            }
            Err(ApiError::bad_request(choose))
        }
    }
}

/// Tells the backend where the client came in, and asks for pages whose links can be read.
fn prepare_proxy(parts: &mut http::request::Parts, target: &Target) -> rewrite::Way {
    let host = parts.headers.get(HOST).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let host = host.or_else(|| parts.uri.authority().map(|a| a.as_str().to_owned())).unwrap_or_default();
    for (name, value) in [("x-forwarded-uri", parts.uri.path()), ("x-forwarded-host", &host)] {
        parts.headers.remove(name);
        if let Ok(value) = HeaderValue::from_str(value) {
            parts.headers.insert(name, value);
        }
    }
    parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    parts.headers.remove(ACCEPT_ENCODING);
    rewrite::Way { prefix: rewrite::prefix(&parts.uri, &target.path), backend: target.address.to_string(), host }
}

/// Sends a client that asks for the root of a backend without a slash to the place with one, so that the links of what
/// it gets there lead through the proxy.
fn to_the_root(info: &Info, raw: &http::Request<Body>) -> Option<Response<Body>> {
    let (path, reads) = (raw.uri().path(), matches!(*raw.method(), Method::GET | Method::HEAD));
    let bare = info.subresource == "proxy" && info.rest.is_empty() && !path.ends_with('/');
    if !bare || !reads || raw.headers().contains_key(UPGRADE) {
        return None;
    }
    let query = raw.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = Response::new(crate::body::full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&format!("{path}/{query}")).ok()?);
    Some(response)
}

/// The WebSocket that a client wants a log over. The kubelet is asked for the log as such.
fn take_socket(raw: &mut http::Request<Body>) -> Option<(HeaderValue, HeaderMap, OnUpgrade)> {
    let key = socket::key(raw.headers())?;
    let connection = hyper::upgrade::on(&mut *raw);
    let headers = raw.headers().clone();
    let gone = |name: &HeaderName| name == UPGRADE || name == CONNECTION || name.as_str().starts_with("sec-websocket");
    headers.keys().filter(|n| gone(n)).for_each(|n| drop(raw.headers_mut().remove(n)));
    Some((key, headers, connection))
}

/// A kubelet says in plain text why it has no log; clients of the API want a status.
async fn worded(answer: Response<Body>) -> Result<Response<Body>, ApiError> {
    let make: fn(String) -> ApiError = match answer.status() {
        StatusCode::BAD_REQUEST => ApiError::bad_request,
        StatusCode::INTERNAL_SERVER_ERROR => ApiError::internal,
        _ => return Ok(answer),
    };
    let why = crate::body::read(answer.into_body()).await?;
    Err(make(String::from_utf8_lossy(&why).into_owned()))
}

/// Whether a client takes a log from whoever answers.
fn skips(request: &Request<'_>) -> bool {
    request.query().flag("insecureSkipTLSVerifyBackend")
}

impl Inner {
    /// Answers a subresource of a pod, service or node by passing the request on.
    pub(crate) async fn pass_on(
        &self,
        request: &Request<'_>,
        raw: http::Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        // What was written before this request is seen by it.
        self.registry.caches.current().await.map_err(|e| crate::registry::store_error(&e))?;
        if self.has_no_log_yet(request.info)? {
            let mut empty = Response::new(crate::body::full(""));
            *empty.status_mut() = StatusCode::NO_CONTENT;
            return Ok(empty);
        }
        let target = self.target(request)?;
        if request.info.subresource == "log" {
            rare::log(skips(request));
        }
        if let Some(redirect) = to_the_root(request.info, &raw) {
            return Ok(redirect);
        }
        let query = streams::query(request.info, raw.uri().query())?;
        let uri: Uri =
            format!("{}{query}", target.path).parse().map_err(|e| ApiError::bad_request(format!("bad path: {e}")))?;
        if let Some(relay) = Relay::of(raw.headers()).filter(|_| !target.sockets) {
            let (stream, host) = (self.dial(request, &target).await?, target.address.to_string());
            return streams::translate(relay, raw, uri, stream, &host).await;
        }
        let (mut parts, body) = raw.into_parts();
        let way = (request.info.subresource == "proxy").then(|| prepare_proxy(&mut parts, &target));
        parts.uri = uri;
        parts.headers.remove(http::header::AUTHORIZATION);
        let mut raw = http::Request::from_parts(parts, body);
        let log_socket = if request.info.subresource == "log" { take_socket(&mut raw) } else { None };
        let stream = self.dial(request, &target).await?;
        let answer = super::upgrade::pass(stream, raw, &target.address.to_string()).await?;
        if let Some(way) = way {
            return Ok(rewrite::answer(answer, way));
        }
        if request.info.subresource != "log" {
            return Ok(answer);
        }
        let answer = worded(answer).await?;
        Ok(match log_socket {
            Some((key, headers, connection)) => {
                socket::upgrade(&key, &headers, connection, answer, socket::bytes(&headers))
            }
            None => answer,
        })
    }

    /// Connects to a target.
    async fn dial(&self, request: &Request<'_>, target: &Target) -> Result<Connection, ApiError> {
        let unreachable =
            |e: std::io::Error| ApiError::new(Reason::InternalError, format!("error dialing backend: {e}"));
        let (host, port) = (target.address.ip().to_string(), target.address.port());
        let stream = self.cluster.dial(&host, port).await.map_err(unreachable)?;
        let Some(connector) = self.connector(request, target)? else { return Ok(stream) };
        let name = ServerName::IpAddress(target.address.ip().into());
        let connected = connector.connect(name, stream).await;
        if connected.is_err() && request.info.subresource == "log" {
            rare::log_refused();
        }
        Ok(Box::new(connected.map_err(unreachable)?))
    }

    /// How a target wants TLS. Who answers for a pod or a Service is nobody's business but its own; a kubelet must be the
    /// cluster's.
    fn connector(&self, request: &Request<'_>, target: &Target) -> Result<Option<TlsConnector>, ApiError> {
        match request.info.subresource.as_str() {
            _ if !target.tls => Ok(None),
            "log" if skips(request) => Ok(self.kubelets.unverified()),
            "proxy" if request.kind.plural != "nodes" => Ok(Some(ironclad_remote::unverified())),
            _ => self.kubelets.connector().map(Some).ok_or_else(|| ApiError::internal("no credentials for kubelets")),
        }
    }

    /// Whether the log of a container is asked for whose pod is on no node; the container must exist all the same.
    fn has_no_log_yet(&self, info: &Info) -> Result<bool, ApiError> {
        if info.resource != "pods" || info.subresource != "log" {
            return Ok(false);
        }
        let pod = self.read("", "pods", &info.namespace, &info.name)?;
        container(&pod, info.query.get("container"))?;
        Ok(object::text(&pod, &["spec", "nodeName"]).is_empty())
    }

    fn target(&self, request: &Request<'_>) -> Result<Target, ApiError> {
        let info = request.info;
        match (&*request.kind.plural, &*info.subresource) {
            ("pods", "proxy") => self.pod_proxy(info),
            ("pods", _) => self.pod_stream(request),
            ("services", _) => self.service_proxy(info),
            ("nodes", _) => {
                let (name, port) = split_port(&info.name);
                let mut target = self.kubelet_of(name)?;
                if let Some(port) = port.and_then(|p| p.parse().ok()).filter(|p| *p != target.address.port()) {
                    proxyable(target.address.ip())?;
                    target.address.set_port(port);
                    target.tls = info.name.starts_with("https:");
                }
                target.path = format!("/{}", info.rest);
                Ok(target)
            }
            _ => Err(request.not_found()),
        }
    }

    fn pod_stream(&self, request: &Request<'_>) -> Result<Target, ApiError> {
        let info = request.info;
        let pod = self.read("", "pods", &info.namespace, &info.name)?;
        let node = object::text(&pod, &["spec", "nodeName"]);
        let (namespace, name) = (&info.namespace, &info.name);
        if node.is_empty() {
            let message = format!("pod {name} does not have a host assigned");
            return Err(ApiError::bad_request(message));
        }
        let phase = object::text(&pod, &["status", "phase"]);
        if info.subresource != "log" && matches!(phase, "Succeeded" | "Failed") {
            let message = format!("cannot exec into a container in a completed pod; current phase is {phase}");
            return Err(ApiError::bad_request(message));
        }
        // Whoever asks for a pod hears of pods alone.
        let of_pod = |error: ApiError| match error.code {
            404 => ApiError::not_found(&GroupResource::new("", "pods"), node),
            _ => error,
        };
        let mut target = self.kubelet_of(node).map_err(of_pod)?;
        target.path = match &*info.subresource {
            "portforward" => format!("/portForward/{namespace}/{name}"),
            sub => {
                let container = container(&pod, info.query.get("container"))?;
                let door = if sub == "log" { "containerLogs" } else { sub };
                format!("/{door}/{namespace}/{name}/{container}")
            }
        };
        Ok(target)
    }

    fn kubelet_of(&self, name: &str) -> Result<Target, ApiError> {
        let node = self.read("", "nodes", "", name)?;
        let addresses = list(&node, &["status", "addresses"]);
        let ip = ["InternalIP", "ExternalIP"].iter().find_map(|kind| addresses.iter().find(|a| a["type"] == *kind));
        let ip: Option<IpAddr> = ip.and_then(|a| a["address"].as_str()?.parse().ok());
        let ip = ip.ok_or_else(|| {
            ApiError::internal(format!("no preferred addresses found; known addresses: [] of node {name}"))
        })?;
        let declared = list(&node, &["status", "declaredFeatures"]);
        let sockets = declared.iter().any(|f| *f == "ExtendWebSocketsToKubelet");
        let port = object::at(&node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"]).and_then(Value::as_u64);
        Ok(Target {
            address: SocketAddr::new(ip, port.unwrap_or(10250) as u16),
            tls: true,
            path: String::new(),
            sockets,
        })
    }

    fn read(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let resource = GroupResource::new(group, plural);
        let missing = || ApiError::not_found(&resource, name);
        let kind = self.kind_of(group, plural).ok_or_else(missing)?;
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let key = format!("{}{place}{name}", kind.prefix);
        let cached = self.registry.caches.of(&kind).and_then(|c| c.get(&key)).ok_or_else(missing)?;
        Ok(cached.value())
    }

    fn pod_proxy(&self, info: &Info) -> Result<Target, ApiError> {
        let (name, port) = split_port(&info.name);
        let pod = self.read("", "pods", &info.namespace, name)?;
        let ip: IpAddr = object::text(&pod, &["status", "podIP"])
            .parse()
            .map_err(|_| ApiError::bad_request("address not allowed"))?;
        let ports = || list(&pod, &["spec", "containers"]).iter().flat_map(|c| list(c, &["ports"]));
        let port = match port {
            Some(text) => text
                .parse()
                .ok()
                .or_else(|| ports().find(|p| p["name"] == text)?["containerPort"].as_u64().map(|p| p as u16)),
            None => ports().next().and_then(|p| p["containerPort"].as_u64()).map(|p| p as u16).or(Some(80)),
        };
        let port = port.ok_or_else(|| ApiError::bad_request(format!("no port of pod {name} is named so")))?;
        proxyable(ip)?;
        Ok(Target {
            address: SocketAddr::new(ip, port),
            tls: info.name.starts_with("https:"),
            path: format!("/{}", info.rest),
            sockets: true,
        })
    }

    fn service_proxy(&self, info: &Info) -> Result<Target, ApiError> {
        let (name, port) = split_port(&info.name);
        let service = self.read("", "services", &info.namespace, name)?;
        let ports = list(&service, &["spec", "ports"]);
        let wanted = match port {
            None => ports.first(),
            // A number means the port of the Service, a name the port that is called so.
            Some(text) => match text.parse::<i64>() {
                Ok(number) => ports.iter().find(|p| p["port"].as_i64() == Some(number)),
                Err(_) => ports.iter().find(|p| p["name"] == text),
            },
        };
        let unavailable = |why: String| ApiError::new(Reason::ServiceUnavailable, why);
        let wanted = wanted.ok_or_else(|| {
            let port = port.unwrap_or_default();
            match port.parse::<i64>() {
                Ok(number) => unavailable(format!("no service port {number} found for service {name:?}")),
                Err(_) => unavailable(format!("no endpoints available for service {:?}", info.name)),
            }
        })?;
        let kind = self
            .kind_of("discovery.k8s.io", "endpointslices")
            .ok_or_else(|| ApiError::internal("no EndpointSlices"))?;
        let cache = self.registry.caches.of(&kind).ok_or_else(|| ApiError::internal("no EndpointSlices"))?;
        let mut found = Vec::new();
        for cached in cache.list(&format!("{}{}/", kind.prefix, info.namespace), None) {
            if cached.get_label("kubernetes.io/service-name") != Some(name) {
                continue;
            }
            let slice = cached.value();
            let name_of = |p: &Value| p["name"].as_str().unwrap_or_default().to_owned();
            let port = list(&slice, &["ports"])
                .iter()
                .find(|p| name_of(p) == name_of(wanted))
                .and_then(|p| p["port"].as_u64());
            let Some(port) = port else { continue };
            for endpoint in list(&slice, &["endpoints"]).iter().filter(|e| e["conditions"]["ready"] != false) {
                found.extend(
                    endpoint["addresses"][0]
                        .as_str()
                        .and_then(|a| a.parse::<IpAddr>().ok())
                        .map(|ip| SocketAddr::new(ip, port as u16)),
                );
            }
        }
        if found.is_empty() {
            return Err(unavailable(format!("no endpoints available for service {name:?}")));
        }
        let address = found[fastrand::usize(..found.len())];
        proxyable(address.ip())?;
        Ok(Target { address, tls: info.name.starts_with("https:"), path: format!("/{}", info.rest), sockets: true })
    }
}

/// Refuses addresses that mean this machine or the link: what listens there is not the cluster's to offer.
fn proxyable(ip: IpAddr) -> Result<(), ApiError> {
    let inner = match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
    };
    if inner { Err(ApiError::bad_request("address not allowed")) } else { Ok(()) }
}

/// `name`, `name:port`, `scheme:name:port`.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => (name, None),
        [name, port] => (name, Some(port)),
        [_, name, port, ..] => (name, (!port.is_empty()).then_some(*port)),
        [] => ("", None),
    }
}
