//! `/logs`, where `--enable-logs-handler` asks for it: the files below `/var/log`, as Go's file server shows them.
//!
//! Invariant: nothing outside of the directory is read, whatever a path says or a link in it points to.

use crate::{Body, accept, body, respond};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::ApiError;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

const ROOT: &str = "/var/log";
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// What is read of a file at once.
const CHUNK: usize = 64 << 10;

/// Whether a path is answered here.
pub(crate) fn is_here(path: &str) -> bool {
    path == "/logs" || path.starts_with("/logs/")
}

/// Answers a path below `/logs`.
pub(crate) async fn answer(path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    accept::only(headers, &[])?;
    let below = path.strip_prefix("/logs").unwrap_or_default();
    if below.is_empty() {
        return Ok(moved("logs/"));
    }
    if below.split('/').any(|part| part == "..") {
        return Ok(plain(StatusCode::BAD_REQUEST, "invalid URL path\n"));
    }
    Ok(serve(Path::new(ROOT), below).await.unwrap_or_else(respond::nothing_there))
}

fn plain(code: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = respond::text(code, text);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn moved(to: &str) -> Response<Body> {
    let mut response = Response::new(body::full(Bytes::new()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// A directory or a file below a root; nothing where there is none.
async fn serve(root: &Path, below: &str) -> Option<Response<Body>> {
    let root = tokio::fs::canonicalize(root).await.ok()?;
    let path = tokio::fs::canonicalize(root.join(below.trim_matches('/'))).await.ok()?;
    if !path.starts_with(&root) {
        return None;
    }
    let meta = tokio::fs::metadata(&path).await.ok()?;
    match (meta.is_dir(), below.ends_with('/')) {
        (true, true) => Some(respond::kind(StatusCode::OK, HTML, listed(&path).await?)),
        (true, false) => Some(moved(&format!("{}/", below.rsplit('/').next().unwrap_or_default()))),
        (false, true) => {
            Some(moved(&format!("../{}", below.trim_end_matches('/').rsplit('/').next().unwrap_or_default())))
        }
        (false, false) if meta.is_file() => sent(path).await,
        (false, false) => None,
    }
}

async fn listed(path: &Path) -> Option<String> {
    let (mut names, mut entries) = (Vec::new(), tokio::fs::read_dir(path).await.ok()?);
    while let Ok(Some(entry)) = entries.next_entry().await {
        let slash = if entry.file_type().await.is_ok_and(|t| t.is_dir()) { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut out = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "<a href=\"{}\">{}</a>", linked(&name), shown(&name));
    }
    out.push_str("</pre>\n");
    Some(out)
}

/// A name as a relative link.
fn linked(name: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:=@".contains(&b);
    let text: String =
        name.bytes().map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    if name.split('/').next().is_some_and(|first| first.contains(':')) { format!("./{text}") } else { text }
}

/// A name as HTML shows it.
fn shown(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}

/// A file, piece by piece.
async fn sent(path: PathBuf) -> Option<Response<Body>> {
    let file = tokio::fs::File::open(&path).await.ok()?;
    let media = match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => "application/gzip",
        Some("xz") => "application/x-xz",
        Some("json") => "application/json",
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("log") => "text/x-log; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let pieces = futures::stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; CHUNK];
        let read = file.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        piece.truncate(read);
        Some((Bytes::from(piece), file))
    });
    let mut response = Response::new(body::stream(pieces));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn files_and_directories_are_shown_and_nothing_outside_of_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("apt")).unwrap();
        std::fs::write(dir.path().join("a<b.log"), "line").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
        let of = async |below: &str| {
            let response = serve(dir.path(), below).await?;
            let code = response.status().as_u16();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            Some((code, String::from_utf8(bytes.to_vec()).unwrap()))
        };
        let (code, page) = of("/").await.unwrap();
        assert_eq!(code, 200);
        assert!(page.contains("<a href=\"a%3Cb.log\">a&lt;b.log</a>\n<a href=\"apt/\">apt/</a>"), "{page}");
        assert_eq!(of("/a<b.log").await, Some((200, "line".to_owned())));
        assert_eq!(of("/apt").await.map(|a| a.0), Some(301));
        assert_eq!((of("/none").await, of("/out").await, of("/../etc").await), (None, None, None));
    }
}
