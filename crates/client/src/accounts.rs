//! Clients that act as service accounts of kube-system, each with the role that the API server has for it: what stock's
//! controller manager does with `--use-service-account-credentials`.
//!
//! Invariants: a token is asked for when it is first needed and renewed before its end, never written anywhere; what an
//! account may update but not patch is read, changed and updated.

use crate::Client;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAMESPACE: &str = "kube-system";
/// How long tokens are asked to live, and after how much of that they are renewed.
const LIFE: Duration = Duration::from_hours(1);
const RENEW: f64 = 0.8;
/// How often a write that somebody else was faster with is done anew.
const TRIES: usize = 5;
/// The largest patch that becomes an update.
const MOST: usize = 3 << 20;

/// What makes clients of accounts.
#[derive(Clone)]
pub struct Accounts {
    /// Who may make accounts and ask for their tokens.
    own: Client,
    /// The same API server with no credentials.
    plain: Client,
}

impl Accounts {
    /// By a kubeconfig, whose user may make the accounts.
    pub async fn from_kubeconfig(path: &Path) -> Result<Self, crate::Error> {
        let own = crate::from_kubeconfig(path).await?;
        Ok(Self { own, plain: crate::connect(path, true).await? })
    }

    /// A client that acts as the account `name`.
    pub fn client(&self, name: &str) -> Client {
        let account = Arc::new(Account { from: self.clone(), name: name.to_owned(), token: Mutex::new(None) });
        let service = tower::service_fn(move |request: Request<Body>| {
            let account = account.clone();
            async move { account.send(request).await }
        });
        Client::new(service, "default")
    }
}

struct Account {
    from: Accounts,
    name: String,
    /// The token, and when to renew it.
    token: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Account {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, tower::BoxError> {
        if request.method() != Method::PATCH || !is_merge(&request) {
            return Ok(self.once(request).await?);
        }
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let again = Request::from_parts(head.clone(), Body::from(body.clone()));
        let answer = self.once(again).await?;
        if answer.status() != StatusCode::FORBIDDEN || body.len() > MOST {
            return Ok(answer);
        }
        Ok(self.update(&head, &body).await?.unwrap_or(answer))
    }

    async fn once(&self, mut request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let token = self.token().await?;
        request.headers_mut().insert(AUTHORIZATION, token);
        self.from.plain.send(request).await
    }

    async fn token(&self) -> Result<HeaderValue, kube::Error> {
        let known = self.token.lock().clone();
        if let Some((token, _)) = known.filter(|(_, renew)| Instant::now() < *renew) {
            return Ok(token);
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.from.own.clone(), NAMESPACE);
        let spec = TokenRequestSpec { expiration_seconds: Some(LIFE.as_secs() as i64), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let params = PostParams::default();
        let made = match api.create_token_request(&self.name, &params, &request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let mut account = ServiceAccount::default();
                account.metadata.name = Some(self.name.clone());
                match api.create(&params, &account).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    made => drop(made?),
                }
                api.create_token_request(&self.name, &params, &request).await?
            }
            made => made?,
        };
        let status = made.status.unwrap_or_default();
        let left = status.expiration_timestamp.map(|end| end.0.duration_since(k8s_openapi::jiff::Timestamp::now()));
        let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default();
        let renew = Instant::now() + left.mul_f64(RENEW);
        let mut token = HeaderValue::from_str(&format!("Bearer {}", status.token.unwrap_or_default()))
            .map_err(|e| kube::Error::Service(Box::new(e)))?;
        token.set_sensitive(true);
        *self.token.lock() = Some((token.clone(), renew));
        Ok(token)
    }

    /// Does what a patch would do by an update; nothing, where even that is not possible.
    async fn update(
        &self,
        head: &http::request::Parts,
        patch: &[u8],
    ) -> Result<Option<Response<Body>>, tower::BoxError> {
        let patch: Value = serde_json::from_slice(patch)?;
        let path = head.uri.path();
        let object = path.strip_suffix("/status").unwrap_or(path);
        for _ in 0..TRIES {
            let found = self.once(Request::get(object).body(Body::empty())?).await?;
            if !found.status().is_success() {
                return Ok(None);
            }
            let mut value: Value = serde_json::from_slice(&found.into_body().collect().await?.to_bytes())?;
            let pinned = patch["metadata"]["resourceVersion"].is_string();
            merge(&mut value, &patch);
            let body = Body::from(serde_json::to_vec(&value)?);
            let put = Request::put(head.uri.clone()).header(CONTENT_TYPE, "application/json").body(body)?;
            let answer = self.once(put).await?;
            if answer.status() != StatusCode::CONFLICT || pinned {
                return Ok(Some(answer).filter(|a| a.status() != StatusCode::FORBIDDEN));
            }
        }
        Ok(None)
    }
}

fn is_merge(request: &Request<Body>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/merge-patch+json"))
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Some(object) = into.as_object_mut() else { return };
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An API server that knows one account, lets it update deployments and not patch them.
    fn server() -> (Client, Arc<Mutex<Vec<String>>>) {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = seen.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let seen = seen.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let who = head.headers.get(AUTHORIZATION).map_or("-", |v| v.to_str().unwrap()).to_owned();
                seen.lock().push(format!("{} {} {who}", head.method, head.uri.path()));
                let (code, answer) = match (head.method.as_str(), head.uri.path().ends_with("/token")) {
                    (_, true) => {
                        let life =
                            k8s_openapi::jiff::Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_hours(1);
                        let status = json!({"token": "secret", "expirationTimestamp": life.to_string()});
                        (201, json!({"metadata": {}, "spec": {"audiences": []}, "status": status}))
                    }
                    ("PATCH", _) => (403, json!({"kind": "Status", "code": 403, "reason": "Forbidden"})),
                    ("GET", _) => {
                        (200, json!({"metadata": {"name": "a", "labels": {"x": "1", "y": "2"}}, "status": {"n": 1}}))
                    }
                    _ => (200, serde_json::from_slice(&body)?),
                };
                let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, tower::BoxError>(answer?)
            }
        });
        (Client::new(service, "default"), told)
    }

    #[tokio::test]
    async fn an_account_shows_its_own_token_and_updates_what_it_may_not_patch() {
        let (client, seen) = server();
        let accounts = Accounts { own: client.clone(), plain: client };
        let path = "/apis/apps/v1/namespaces/d/deployments/a";
        let patch = Request::patch(format!("{path}/status"))
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(Body::from(br#"{"metadata":{"labels":{"x":null}},"status":{"n":2}}"#.to_vec()))
            .unwrap();
        let answer = accounts.client("deployment-controller").send(patch).await.unwrap();
        let value: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(value, json!({"metadata": {"name": "a", "labels": {"y": "2"}}, "status": {"n": 2}}));
        let wanted = [
            "POST /api/v1/namespaces/kube-system/serviceaccounts/deployment-controller/token -".to_owned(),
            format!("PATCH {path}/status Bearer secret"),
            format!("GET {path} Bearer secret"),
            format!("PUT {path}/status Bearer secret"),
        ];
        assert_eq!(*seen.lock(), wanted);
    }
}
