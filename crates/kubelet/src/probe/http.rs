//! HTTP and HTTPS requests of probes and hooks.

use super::{dial, port};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Longest body that is read, in bytes.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

/// A request to make.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    https: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    code: u16,
    /// The body of an answer that sends us to another host, which nobody follows.
    pub(crate) redirected_away: Option<String>,
}

impl Answer {
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.code {
            200..400 => Ok(()),
            code => Err(format!("HTTP probe failed with statuscode: {code}")),
        }
    }
}

impl Get {
    pub(crate) fn new(get: &HTTPGetAction, ip: &str, container: &Container) -> Result<Self, String> {
        let path = get.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".to_owned());
        let headers = get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone()));
        Ok(Self {
            https: get.scheme.as_deref() == Some("HTTPS"),
            host: get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_owned()),
            port: port(&get.port, container)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: headers.collect(),
        })
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }

    /// Asks, and follows redirects that stay on the host.
    pub(crate) async fn send(&self, timeout: Duration, agent: &str) -> Result<Answer, String> {
        let work = async {
            let mut get = self.clone();
            for _ in 0..=MAX_REDIRECTS {
                match get.once(agent, timeout).await? {
                    Reply::Done(answer) => return Ok(answer),
                    Reply::Elsewhere(next) => get = next,
                }
            }
            Err(format!("Get \"{}\": stopped after {MAX_REDIRECTS} redirects", self.url()))
        };
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
            Err(format!("Get \"{}\": {why}", self.url()))
        })
    }

    async fn once(&self, agent: &str, timeout: Duration) -> Result<Reply, String> {
        let failed = |e: &dyn std::fmt::Display| format!("Get \"{}\": {e}", self.url());
        let stream = dial(&self.host, self.port, timeout).await.map_err(|e| failed(&e))?;
        if !self.https {
            return self.speak(stream, agent).await.map_err(|e| failed(&e));
        }
        let name = rustls_pki_types::ServerName::try_from(self.host.clone()).map_err(|e| failed(&e))?;
        let stream = ironclad_remote::unverified().connect(name, stream).await.map_err(|e| failed(&e))?;
        self.speak(stream, agent).await.map_err(|e| failed(&e))
    }

    fn request(&self, agent: &str) -> Result<Request<Empty<Bytes>>, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|e| e.to_string())?;
            headers.append(name, HeaderValue::try_from(value.as_str()).map_err(|e| e.to_string())?);
        }
        let mut default = |name: &'static str, value: &str| {
            if !headers.contains_key(name)
                && let Ok(value) = HeaderValue::try_from(value)
            {
                headers.insert(name, value);
            }
        };
        default("host", &self.authority());
        default("user-agent", agent);
        default("accept", "*/*");
        default("connection", "close");
        // An empty value takes the header away.
        let empty: Vec<HeaderName> = headers.iter().filter(|(_, v)| v.is_empty()).map(|(n, _)| n.clone()).collect();
        empty.iter().for_each(|n| drop(headers.remove(n)));
        let mut request = Request::get(self.path.as_str()).body(Empty::new()).map_err(|e| e.to_string())?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn speak<S>(&self, stream: S, agent: &str) -> Result<Reply, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(self.request(agent)?).await;
        let answer = answer.map_err(|e| match e.is_incomplete_message() {
            true => "EOF".to_owned(),
            false => e.to_string(),
        })?;
        let code = answer.status().as_u16();
        let location = answer.headers().get(http::header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        let text = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
        driver.abort();
        let next = location.filter(|_| (300..400).contains(&code)).and_then(|l| self.redirect(&l));
        Ok(match next {
            None => Reply::Done(Answer { code, redirected_away: None }),
            Some(next) if next.host == self.host => Reply::Elsewhere(next),
            Some(_) => Reply::Done(Answer { code, redirected_away: Some(text) }),
        })
    }

    /// Where a `Location` leads.
    fn redirect(&self, location: &str) -> Option<Self> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Self { path: location.to_owned(), ..self.clone() });
        }
        let uri: http::Uri = location.parse().ok()?;
        let https = uri.scheme_str()? == "https";
        Some(Self {
            https,
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: self.headers.clone(),
        })
    }

    /// The same without TLS.
    pub(crate) fn plain(&self) -> Self {
        Self { https: false, ..self.clone() }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }
}

enum Reply {
    Done(Answer),
    Elsewhere(Get),
}
