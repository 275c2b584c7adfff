//! Files below `/var/log` of the node.

use super::{Body, text};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use tokio_util::io::ReaderStream;

const ROOT: &str = "/var/log";

/// A file, or the names in a directory. Nothing outside of the logs is reached, whatever the path or links say.
pub(super) fn answer(path: &str) -> Response<Body> {
    let inside = path.trim_matches('/');
    let open = || -> std::io::Result<(std::fs::File, bool)> {
        let root = std::fs::File::open(ROOT)?;
        let name = if inside.is_empty() { "." } else { inside };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = openat2(&root, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)?;
        match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::Directory => Ok((fd.into(), true)),
            FileType::RegularFile => Ok((fd.into(), false)),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }
    };
    match open() {
        Err(_) => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Ok((dir, true)) => list(&dir),
        Ok((file, false)) => {
            use futures::StreamExt;
            let stream = ReaderStream::new(tokio::fs::File::from_std(file));
            let body = StreamBody::new(stream.map(|b: std::io::Result<Bytes>| b.map(Frame::data)));
            Response::new(body.boxed_unsync())
        }
    }
}

fn list(dir: &std::fs::File) -> Response<Body> {
    let Ok(mut entries) = rustix::fs::Dir::read_from(dir) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "cannot read the directory\n");
    };
    let mut names = Vec::new();
    while let Some(Ok(entry)) = entries.read() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(format!("{name}{}", if entry.file_type() == FileType::Directory { "/" } else { "" }));
        }
    }
    names.sort();
    let escape = |t: &str| t.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let lines: Vec<String> = names.iter().map(|n| format!("<a href=\"{0}\">{0}</a>\n", escape(n))).collect();
    let lines = lines.concat();
    let mut response = text(StatusCode::OK, format!("<!doctype html>\n<pre>\n{lines}</pre>\n"));
    let kind = http::HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
