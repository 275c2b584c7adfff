//! Whether the servers behind APIServices answer: a keeper for each looks when something happens to its Service and now
//! and then, for a server's health is told by nobody, and writes what it finds into the APIService's condition.

use super::documents;
use super::proxy::chain;
use super::remote::Remote;
use crate::server::Inner;
use crate::{door, encode};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use ironclad_api::{UserInfo, time};
use ironclad_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// When a server is looked at again that nothing has happened to.
const RECHECK: Duration = Duration::from_secs(30);
/// When one is looked at again that has just failed; twice as late each time, up to [`RECHECK`].
const RETRY: Duration = Duration::from_millis(100);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many of a Service's endpoints are asked at once: it is available when one answers.
const ATTEMPTS: usize = 5;

/// What a look has found: status, reason and message of the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Self { status: "False", reason, message }
    }

    fn passed() -> Self {
        Self { status: "True", reason: "Passed", message: "all checks passed".to_owned() }
    }
}

/// Keeps an APIService's condition and documents current until `token` is cancelled.
pub(super) async fn keep(inner: Arc<Inner>, remote: Arc<Remote>, token: CancellationToken) {
    let mut failures = 0;
    loop {
        let verdict = tokio::select! {
            () = token.cancelled() => return,
            verdict = look(&remote) => verdict,
        };
        let passed = verdict == Verdict::passed();
        if passed {
            // Before anybody is told that it is available, so that its resources are found at once.
            remote.refresh().await;
        }
        if let Err(why) = report(&inner, &remote, &verdict).await {
            tracing::warn!(name = remote.name, why, "the condition of an APIService was not written");
        }
        failures = if verdict.reason == "FailedDiscoveryCheck" { failures + 1 } else { 0 };
        let wait = match failures {
            0 => RECHECK,
            n => (RETRY * 2u32.saturating_pow(n - 1)).min(RECHECK),
        };
        tokio::select! {
            () = token.cancelled() => return,
            () = remote.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Looks whether the server answers.
async fn look(remote: &Remote) -> Verdict {
    if let Err(missing) = remote.backend() {
        return Verdict::no(missing.reason, missing.message);
    }
    let mut asked: FuturesUnordered<_> = (0..ATTEMPTS).map(|_| ask(remote)).collect();
    let mut why = String::new();
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(()) => return Verdict::passed(),
            Err(error) => why = error,
        }
    }
    Verdict::no("FailedDiscoveryCheck", why)
}

async fn ask(remote: &Remote) -> Result<(), String> {
    let ways = remote.ways.as_ref()?;
    let url = format!("https://{}{}", remote.authority(), remote.path());
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let request = documents::request(&remote.authority(), &remote.path(), HeaderValue::from_static("*/*"))?;
    let answer = tokio::time::timeout(PATIENCE, ways.check.request(request)).await;
    let answer = answer.map_err(|_| failed(format!("Get {url:?}: context deadline exceeded")))?;
    let status = answer.map_err(|e| failed(format!("Get {url:?}: {}", chain(&e))))?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(failed(format!("bad status from {url}: {}", status.as_u16()))),
    }
}

/// Writes the condition, unless it says the same already.
async fn report(inner: &Arc<Inner>, remote: &Remote, verdict: &Verdict) -> Result<(), String> {
    let kind = inner.kind_of("apiregistration.k8s.io", "apiservices").ok_or("there are no APIServices")?;
    let key = format!("{}{}", kind.prefix, remote.name);
    loop {
        let Some(entry) = inner.registry.entry(&key).await.map_err(|e| e.to_string())? else { return Ok(()) };
        let object = encode::decode(entry.value.bytes());
        // Another keeper looks at what it says now.
        if object["spec"] != remote.spec {
            return Ok(());
        }
        let Some(object) = with_condition(object, verdict) else { return Ok(()) };
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{}/status", remote.name);
        let mut request = Request::builder()
            .method("PUT")
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "kube-apiserver")
            .body(Full::new(object.to_string().into()))
            .map_err(|e| e.to_string())?;
        request.extensions_mut().insert(UserInfo::new("system:apiserver", &["system:masters"]));
        let answer = door::serve(inner, request).await;
        match answer.status() {
            // Somebody else wrote it meanwhile.
            StatusCode::CONFLICT => {}
            status if status.is_success() || status == StatusCode::NOT_FOUND => return Ok(()),
            status => {
                let body = answer.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
            }
        }
    }
}

/// The object with the condition; `None` when it has it already.
fn with_condition(mut object: Value, verdict: &Verdict) -> Option<Value> {
    let mut new = json!({
        "type": "Available", "status": verdict.status, "lastTransitionTime": time::now(),
        "reason": verdict.reason, "message": verdict.message,
    });
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|c| c["type"] == "Available") {
        Some(old) => {
            if old["status"] == verdict.status {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            if *old == new {
                return None;
            }
            *old = new;
        }
        None => conditions.push(new),
    }
    object["status"]["conditions"] = Value::Array(conditions.into());
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_transition() {
        let first = with_condition(json!({"spec": {}}), &Verdict::no("A", "a".into())).unwrap();
        assert_eq!(with_condition(first.clone(), &Verdict::no("A", "a".into())), None);
        let mut old = first;
        old["status"]["conditions"][0]["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        let second = with_condition(old, &Verdict::no("B", "b".into())).unwrap();
        let condition = &second["status"]["conditions"][0];
        assert_eq!(
            (&condition["reason"], &condition["lastTransitionTime"]),
            (&json!("B"), &json!("2020-01-01T00:00:00Z"))
        );
        let third = with_condition(second, &Verdict::passed()).unwrap();
        assert_ne!(third["status"]["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(third["status"]["conditions"].as_array().unwrap().len(), 1);
    }
}
