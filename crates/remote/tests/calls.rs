//! Calls of real sockets.

use ironclad_remote::{Remote, Target};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn server(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    // A provider that is installed already stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 8192];
            let n = stream.read(&mut buffer).await.unwrap();
            tell.send(String::from_utf8_lossy(&buffer[..n]).into_owned()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    });
    (url, told)
}

const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_kubeconfig_says_where_and_as_whom() {
    let (url, mut told) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hook.yaml");
    std::fs::write(dir.path().join("token"), "secret\n").unwrap();
    let text = format!(
        "{{current-context: c, contexts: [{{name: c, context: {{cluster: a, user: b}}}}], clusters: [{{name: a, cluster: {{server: '{url}'}}}}], users: [{{name: b, user: {{tokenFile: token}}}}]}}"
    );
    std::fs::write(&path, text).unwrap();
    let answer = Remote::from_kubeconfig(&path).unwrap().post("{}", SOON).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    let seen = told.recv().await.unwrap();
    assert!(seen.starts_with("POST /hook ") && seen.contains("authorization: Bearer secret"), "{seen}");
    std::fs::write(&path, "{current-context: x}").unwrap();
    let error = Remote::from_kubeconfig(&path).err().unwrap().to_string();
    assert!(error.contains("context was not found for specified context: x"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_silence_ends() {
    let (url, _told) =
        server("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
    let remote = Remote::new(&Target { url, ..Target::default() }).unwrap();
    assert_eq!(remote.post("{}", SOON).await.unwrap().status, 302);
    let (url, _told) = server("").await;
    let remote = Remote::new(&Target { url, ..Target::default() }).unwrap();
    let error = remote.post("{}", Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("deadline"), "{error}");
    assert!(Remote::new(&Target { url: "ftp://x".into(), ..Target::default() }).is_err());
}
