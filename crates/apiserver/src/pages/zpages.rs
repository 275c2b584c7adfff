//! `/statusz` and `/flagz`: text for people, and behind `as=Statusz` and `as=Flagz` the structured kinds.

use crate::accept::{Clause, clauses};
use crate::server::Inner;
use crate::{Body, encode, nonresource, pretty, respond};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, KUBERNETES_VERSION, Reason, features, time};
use ironclad_json::{Value, json};
use ironclad_schema::{bundle, cbor};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::SystemTime;

const COMPONENT: &str = "apiserver";
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
/// One of them is chosen for each answer, so that nobody comes to rely on it.
const DELIMITERS: [&str; 4] = [":", ": ", "=", " "];
/// What is no page for debugging.
const NOT_LISTED: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Text,
    Structured { media: &'static str, version: String },
}

/// The best clause of an `Accept` header that a page can be; `kind` is that of its structured form.
fn wanted(accept: &str, kind: &str, cbor: bool) -> Option<Wanted> {
    if accept.trim().is_empty() {
        return Some(Wanted::Text);
    }
    clauses(accept).iter().find_map(|clause| fits(clause, kind, cbor))
}

fn fits(clause: &Clause<'_>, kind: &str, cbor: bool) -> Option<Wanted> {
    let of = |name: &str| clause.parameters.iter().find(|p| p.0 == name).map_or("", |p| p.1);
    let structured = (of("g"), of("as")) == ("config.k8s.io", kind) && matches!(of("v"), "v1alpha1" | "v1beta1");
    if !structured {
        let plain = of("as").is_empty() && matches!((clause.main, clause.sub), ("text", "plain" | "*") | ("*", "*"));
        return plain.then_some(Wanted::Text);
    }
    let media = match (clause.main, clause.sub) {
        ("application", "json" | "*") | ("*", "*") => "application/json",
        ("application", "yaml") => "application/yaml",
        ("application", "cbor") if cbor => "application/cbor",
        _ => return None,
    };
    Some(Wanted::Structured { media, version: of("v").to_owned() })
}

/// Answers `/statusz`.
pub(crate) fn statusz(inner: &Inner, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let now = SystemTime::now();
    let up = now.duration_since(inner.began).unwrap_or_default().as_secs();
    let began = jiff::Timestamp::try_from(inner.began).map_err(ApiError::internal)?;
    let paths = folders(&nonresource::paths(inner));
    let release = KUBERNETES_VERSION.trim_start_matches('v');
    let emulated = release.rsplit_once('.').map_or(release, |r| r.0);
    let fields = || {
        json!({
            "startTime": time::rfc3339(began), "uptimeSeconds": up, "goVersion": nonresource::COMPILER,
            "binaryVersion": release, "emulationVersion": emulated, "paths": paths,
        })
    };
    let text = || {
        let d = DELIMITERS[fastrand::usize(..DELIMITERS.len())];
        let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
        let since = began.strftime("%a %b %e %H:%M:%S UTC %Y");
        format!(
            "\nStarted{d} {since}\nUp{d} {hours} hr {minutes:02} min {seconds:02} sec\nGo version{d} {}\n\
             Binary version{d} {release}\nEmulation version{d} {emulated}\nPaths{d} {}\n",
            nonresource::COMPILER,
            paths.join(" "),
        )
    };
    page(inner, headers, "Statusz", &text, &fields)
}

/// Answers `/flagz`.
pub(crate) fn flagz(inner: &Inner, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let flags = &inner.about.flags;
    let text = || {
        flags.iter().fold(String::new(), |mut out, (name, value)| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name} {value}");
            out
        })
    };
    page(inner, headers, "Flagz", &text, &|| json!({"flags": flags}))
}

fn page(
    inner: &Inner,
    headers: &HeaderMap,
    kind: &str,
    text: &dyn Fn() -> String,
    fields: &dyn Fn() -> Value,
) -> Result<Response<Body>, ApiError> {
    let lines: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let cbor = inner.gates.enabled(features::CBOR);
    let Some(wanted) = wanted(&lines.join(","), kind, cbor) else {
        let more = if cbor { ", application/cbor" } else { "" };
        let types = format!("application/json, application/yaml, text/plain{more}");
        let message = format!("only the following media types are accepted: {types}");
        return Err(ApiError::new(Reason::NotAcceptable, message));
    };
    let Wanted::Structured { media, version } = wanted else {
        let name = kind.to_lowercase();
        return Ok(respond::text(StatusCode::OK, format!("\n{COMPONENT} {name}\n{WARNING}\n{}", text())));
    };
    let mut value =
        json!({"kind": kind, "apiVersion": format!("config.k8s.io/{version}"), "metadata": {"name": COMPONENT}});
    if let (Some(all), Value::Object(fields)) = (value.as_object_mut(), fields()) {
        all.extend(fields);
    }
    let bytes = match media {
        "application/yaml" => crate::yaml::to_string(&value).into_bytes(),
        "application/cbor" => cbor::encode(bundle(), &value).map_err(ApiError::internal)?,
        _ => pretty::indent(&encode::ordered(&value)),
    };
    let named = format!("{media};g=config.k8s.io;v={version};as={kind}");
    let mut response = respond::kind(StatusCode::OK, HeaderValue::from_str(&named).map_err(ApiError::internal)?, bytes);
    if version == "v1alpha1" {
        let name = kind.to_lowercase();
        let why = format!("This version of the {name} endpoint is deprecated. Please use a newer version.");
        respond::warn(&mut response, &why);
    }
    Ok(response)
}

/// The first parts of paths, each once, without those that clients use.
fn folders(paths: &[String]) -> Vec<String> {
    let firsts = paths.iter().filter_map(|p| p.split('/').nth(1).filter(|f| !f.is_empty()));
    let all: BTreeSet<String> = firsts.map(|f| format!("/{f}")).collect();
    all.into_iter().filter(|f| !NOT_LISTED.contains(&f.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_text_unless_its_kind_is_asked_for() {
        let of = |media: &'static str, version: &str| Some(Wanted::Structured { media, version: version.to_owned() });
        let table = [
            ("", Some(Wanted::Text)),
            ("*/*", Some(Wanted::Text)),
            ("text/*", Some(Wanted::Text)),
            ("application/json", None),
            ("text/html", None),
            ("application/json;as=Flagz;v=v1beta1;g=config.k8s.io", None),
            ("application/json;as=Statusz;v=v1;g=config.k8s.io", None),
            ("application/json;as=Statusz;v=v1beta1;g=config.k8s.io", of("application/json", "v1beta1")),
            ("application/yaml;as=Statusz;v=v1alpha1;g=config.k8s.io", of("application/yaml", "v1alpha1")),
            ("application/cbor;as=Statusz;v=v1beta1;g=config.k8s.io", None),
            ("application/cbor;as=Statusz;v=v1beta1;g=config.k8s.io,text/plain;q=0.5", Some(Wanted::Text)),
        ];
        for (accept, want) in table {
            assert_eq!(wanted(accept, "Statusz", false), want, "{accept}");
        }
    }

    #[test]
    fn only_pages_for_debugging_are_listed() {
        let paths = ["/", "/apis/apps", "/livez/ping", "/livez", "/openapi/v2", "/metrics"].map(str::to_owned);
        assert_eq!(folders(&paths), ["/livez", "/metrics"]);
    }
}
