//! Bytes allocated for one request, counted in process: build with `--features counting`.

use super::report::Report;
use super::{Result, objects, server};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use ironclad_apiserver::ApiServer;
use ironclad_auth::pki::Pki;
use serde_json::json;
use std::path::Path;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Requests of which the mean is taken.
const ROUNDS: usize = 200;

#[cfg(feature = "counting")]
fn allocated() -> Option<usize> {
    Some(crate::COUNTING.stats().bytes_allocated)
}

#[cfg(not(feature = "counting"))]
fn allocated() -> Option<usize> {
    None
}

async fn ask(server: &ApiServer, method: &str, path: &str, kind: &str, body: Bytes) -> Result<usize> {
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let mut request = request.header("user-agent", "bench/1").body(Full::new(body))?;
    request.extensions_mut().insert(server::admin());
    let response = server.clone().call(request).await?;
    let code = response.status();
    // Piece by piece, as a connection takes them: together they would be copied once more.
    let (mut body, mut pieces) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        pieces.extend(frame?.into_data().ok());
    }
    if code.is_success() {
        Ok(pieces.iter().map(Bytes::len).sum())
    } else {
        Err(format!("{path}: {code}: {}", String::from_utf8_lossy(&pieces.concat())).into())
    }
}

pub(crate) async fn run(dir: &Path, report: &mut Report) -> Result<()> {
    if allocated().is_none() {
        println!("bytes allocated: not counted; build with --features counting");
        return Ok(());
    }
    let token = CancellationToken::new();
    let pki = Pki::open_or_create(&dir.join("pki"), "bench")?;
    let server = server::start(dir, None, &pki, &token).await?;
    let json = "application/json";
    let account = json!({"metadata": {"name": "default"}}).to_string();
    ask(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", json, account.into()).await?;
    let pod = objects::large_pod("large").to_string();
    let made = ask(&server, "POST", objects::PODS, json, pod.into()).await?;
    let path = format!("{}/large", objects::PODS);
    let cases = [
        ("get", "GET", json),
        ("merge patch", "PATCH", "application/merge-patch+json"),
        ("strategic patch", "PATCH", "application/strategic-merge-patch+json"),
        ("apply", "PATCH", "application/apply-patch+yaml"),
    ];
    for (what, method, kind) in cases {
        let before = allocated().unwrap_or_default();
        for round in 0..ROUNDS {
            let mut body = json!({"metadata": {"labels": {"round": format!("{what}{round}").replace(' ', "")}}});
            let mut path = path.clone();
            if what == "apply" {
                body["kind"] = "Pod".into();
                body["apiVersion"] = "v1".into();
                body["metadata"]["name"] = "large".into();
                path.push_str("?fieldManager=bench&force=true");
            }
            let body = if method == "GET" { Bytes::new() } else { body.to_string().into() };
            ask(&server, method, &path, kind, body).await?;
        }
        let each = (allocated().unwrap_or_default() - before) as f64 / ROUNDS as f64;
        let times = each / made as f64;
        let note = format!("{times:.1} times its {made} bytes");
        let peer = (what != "get").then_some(114.0 * made as f64);
        report.cost(&format!("bytes allocated for a {what} of a 10 KB pod"), each, "B", peer, &note);
    }
    token.cancel();
    Ok(())
}
