//! `/debug`: what priority and fairness is doing, and profiles of the process.

use super::profile;
use crate::request::Info;
use crate::server::Inner;
use crate::{Body, respond};
use http::header::{CONTENT_DISPOSITION, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use ironclad_api::ApiError;
use std::time::Duration;

/// How long a profile is made when nothing is said, and at most.
const USUAL: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(10);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// Profiles that Go's tools ask for, and why there is none.
const NOT_HERE: [(&str, &str); 2] =
    [("goroutineleak", "this program has no goroutines"), ("trace", "there is no execution tracer")];
/// Profiles of counts, in pprof's form or as text.
const COUNTED: [(&str, &str); 6] = [
    ("allocs", "The memory of the process as a whole: allocations are not sampled."),
    ("block", "Empty: waiting is not sampled."),
    ("goroutine", "Tasks of the runtime and threads, by their names."),
    ("heap", "The memory of the process as a whole: allocations are not sampled."),
    ("mutex", "Empty: contention is not sampled."),
    ("threadcreate", "The threads of the process."),
];

/// Answers a path below `/debug`.
pub(crate) async fn answer(inner: &Inner, info: &Info) -> Result<Response<Body>, ApiError> {
    if let Some(name) = info.path.strip_prefix("/debug/api_priority_and_fairness/") {
        let details = !info.query.get("includeRequestDetails").is_empty();
        let dump = inner.load.priority_and_fairness.then(|| inner.fairness.dump(name, details)).flatten();
        return Ok(dump.map_or_else(respond::nothing_there, |dump| respond::text(StatusCode::OK, dump)));
    }
    if !inner.about.profiling {
        return Ok(respond::nothing_there());
    }
    if info.path == "/debug/pprof" {
        let mut response = respond::kind(StatusCode::FOUND, HTML, "<a href=\"/debug/pprof/\">Found</a>.\n\n");
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("/debug/pprof/"));
        return Ok(response);
    }
    let Some(name) = info.path.strip_prefix("/debug/pprof/") else { return Ok(respond::nothing_there()) };
    let mut response = match name {
        "" => respond::kind(StatusCode::OK, HTML, index()),
        "symbol" => respond::text(StatusCode::OK, "num_symbols: 0\n"),
        "profile" => processor(info.query.get("seconds")).await?,
        _ if COUNTED.iter().any(|c| c.0 == name) => counted(name, info.query.get("debug"))?,
        _ => unknown(name),
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn unknown(name: &str) -> Response<Body> {
    let why = NOT_HERE.iter().find(|n| n.0 == name);
    let text = why.map_or_else(|| "Unknown profile\n".to_owned(), |(name, why)| format!("No profile {name}: {why}\n"));
    let mut response = respond::text(StatusCode::NOT_FOUND, text);
    response.headers_mut().insert("x-go-pprof", HeaderValue::from_static("1"));
    response
}

/// A profile of counts as they are now.
fn counted(name: &str, debug: &str) -> Result<Response<Body>, ApiError> {
    let counts = profile::counts(name).map_err(ApiError::internal)?;
    if !matches!(debug, "" | "0") {
        return Ok(respond::text(StatusCode::OK, counts.text(name)));
    }
    let bytes = counts.encode().map_err(ApiError::internal)?;
    let mut response = respond::kind(StatusCode::OK, HeaderValue::from_static("application/octet-stream"), bytes);
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).map_err(ApiError::internal)?;
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// What each thread used of the processors while the client waits.
async fn processor(seconds: &str) -> Result<Response<Body>, ApiError> {
    let asked = seconds.parse().ok().filter(|s: &f64| *s > 0.0 && s.is_finite());
    let last = asked.map_or(USUAL, |s| Duration::from_secs_f64(s.min(LONGEST.as_secs_f64())));
    let before = profile::usage().map_err(ApiError::internal)?;
    let began = std::time::SystemTime::now();
    tokio::time::sleep(last).await;
    let used = profile::between(&before, &profile::usage().map_err(ApiError::internal)?);
    let bytes = profile::encode(&used, began, last).map_err(ApiError::internal)?;
    let mut response = respond::kind(StatusCode::OK, HeaderValue::from_static("application/octet-stream"), bytes);
    let name = HeaderValue::from_static("attachment; filename=\"profile\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

fn index() -> String {
    let mut rows = vec![
        ("profile", "The processors' time of each thread, in pprof's form; ?seconds= says for how long."),
        ("symbol", "Symbols of addresses: none, samples name threads."),
    ];
    rows.extend(COUNTED);
    rows.sort_unstable();
    let line = |(name, what): (&str, &str)| format!("<li><a href='{name}'>{name}</a>: {what}</li>\n");
    let here: String = rows.into_iter().map(line).collect();
    let none = NOT_HERE.map(|(name, why)| format!("<li>{name}: none, {why}</li>\n")).concat();
    format!(
        "<html>\n<head>\n<title>/debug/pprof/</title>\n</head>\n<body>\n/debug/pprof/\n<br>\n\
         <p>Types of profiles available:</p>\n<ul>\n{here}{none}</ul>\n</body>\n</html>\n"
    )
}
