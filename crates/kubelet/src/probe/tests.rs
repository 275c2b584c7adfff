use super::*;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use serde_json::json;
use tokio::net::TcpListener;

const SECOND: Duration = Duration::from_secs(1);

/// A server that answers by path: `/ok`, `/bad`, `/here` and `/away` (redirects), `/header`.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|r: ::http::Request<hyper::body::Incoming>| async move {
                let answer = ::http::Response::builder();
                let seen = r.headers().get("x-probe").is_some() && r.headers()["user-agent"] == "kube-probe/1.37";
                let answer = match r.uri().path() {
                    "/here" => answer.status(302).header("location", "/ok"),
                    "/away" => answer.status(302).header("location", "http://elsewhere.test/"),
                    "/header" if seen => answer.status(204),
                    "/ok" => answer.status(200),
                    _ => answer.status(500),
                };
                answer.body(Full::new(Bytes::from_static(b"text")))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

fn container(port: u16) -> Container {
    serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": port}]})).unwrap()
}

async fn get(port: u16, path: &str) -> Result<http::Answer, String> {
    let action: HTTPGetAction = serde_json::from_value(json!({
        "path": path, "port": "web", "httpHeaders": [{"name": "X-Probe", "value": "1"}]}))
    .unwrap();
    http::Get::new(&action, "127.0.0.1", &container(port)).unwrap().send(SECOND, "kube-probe/1.37").await
}

#[tokio::test]
async fn http_probes_judge_by_status_and_follow_redirects_on_the_host_only() {
    let port = server().await;
    for path in ["/ok", "/here", "/header"] {
        get(port, path).await.unwrap().verdict().unwrap();
    }
    let bad = get(port, "/bad").await.unwrap().verdict().unwrap_err();
    assert_eq!(bad, "HTTP probe failed with statuscode: 500");
    let away = get(port, "/away").await.unwrap();
    away.verdict().unwrap();
    assert_eq!(away.redirected_away.as_deref(), Some("text"));
}

#[tokio::test]
async fn a_closed_port_is_told_as_go_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let why = get(port, "/").await.unwrap_err();
    let want = format!("Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(why, want);
}

#[tokio::test]
async fn a_server_that_does_not_answer_runs_into_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let action: HTTPGetAction = serde_json::from_value(json!({"port": port})).unwrap();
    let asked = http::Get::new(&action, "127.0.0.1", &container(port)).unwrap();
    let why = asked.send(Duration::from_millis(50), "x").await.unwrap_err();
    assert!(why.ends_with("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"), "{why}");
}

#[tokio::test]
async fn grpc_probes_read_the_state_of_the_service() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|r: ::http::Request<hyper::body::Incoming>| async move {
                use http_body_util::BodyExt;
                let asked = r.into_body().collect().await.unwrap().to_bytes();
                let state = if asked.ends_with(b"sick") { 2 } else { 1 };
                let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, state]));
                let mut trailers = ::http::HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                Ok::<_, std::convert::Infallible>(::http::Response::new(
                    body.with_trailers(async move { Some(Ok(trailers)) }),
                ))
            });
            let http2 = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    grpc::check("127.0.0.1", port, "", SECOND).await.unwrap();
    let why = grpc::check("127.0.0.1", port, "sick", SECOND).await.unwrap_err();
    assert_eq!(why, "service unhealthy (responded with \"NOT_SERVING\")");
}
