//! Logs: the lines of a container's log file, followed through new ones where that is asked.

use super::{Body, Query, find, text};
use crate::Config;
use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ironclad_cri::ContainerState;
use k8s_openapi::jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
struct Options {
    follow: bool,
    timestamps: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
    limit: Option<usize>,
    stream: Option<&'static str>,
}

impl Options {
    fn parse(query: &Query) -> Self {
        let get = |key: &str| query.get(key).and_then(|v| v.first()).map_or("", String::as_str);
        let flag = |key: &str| matches!(get(key), "true" | "1");
        let seconds = get("sinceSeconds")
            .parse::<i64>()
            .ok()
            .and_then(|s| Timestamp::now().checked_sub(k8s_openapi::jiff::Span::new().seconds(s)).ok());
        Self {
            follow: flag("follow"),
            timestamps: flag("timestamps"),
            tail: get("tailLines").parse().ok(),
            since: seconds.or_else(|| get("sinceTime").parse().ok()),
            limit: get("limitBytes").parse().ok(),
            stream: match get("stream") {
                "Stdout" => Some("stdout"),
                "Stderr" => Some("stderr"),
                _ => None,
            },
        }
    }

    /// What a client sees of a line of the file: `<time> <stream> <F|P> <text>`.
    fn shown(&self, line: &str) -> Option<String> {
        let mut parts = line.splitn(4, ' ');
        let (time, stream, whole, text) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        if self.stream.is_some_and(|s| s != stream) {
            return None;
        }
        if let Some(since) = self.since
            && time.parse::<Timestamp>().is_ok_and(|t| t < since)
        {
            return None;
        }
        let end = if whole == "P" { "" } else { "\n" };
        Some(if self.timestamps { format!("{time} {text}{end}") } else { format!("{text}{end}") })
    }
}

pub(super) async fn answer(
    config: &Config,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &Query,
) -> Response<Body> {
    let options = Options::parse(query);
    let previous = query.get("previous").and_then(|v| v.first()).is_some_and(|v| v == "true");
    let Some(status) = find(config, namespace, pod, container, false).await else {
        let message = format!("container {container:?} in pod {pod:?} is waiting to start: ContainerCreating");
        return text(StatusCode::BAD_REQUEST, message);
    };
    let mut path = PathBuf::from(&status.log_path);
    if previous {
        let Some(before) = status.config.attempt.checked_sub(1) else {
            let message = format!("previous terminated container {container:?} in pod {pod:?} not found");
            return text(StatusCode::BAD_REQUEST, message);
        };
        path.set_file_name(format!("{before}.log"));
    }
    let lines = match tokio::fs::read_to_string(&path).await {
        Ok(all) => all,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("failed to open log file {}: {error}", path.display()),
            );
        }
    };
    let complete = lines.rfind('\n').map_or(0, |i| i + 1);
    let mut shown: Vec<String> = lines[..complete].lines().filter_map(|l| options.shown(l)).collect();
    if let Some(tail) = options.tail {
        shown.drain(..shown.len().saturating_sub(tail));
    }
    let mut first = shown.concat();
    if let Some(limit) = options.limit {
        first.truncate(floor(&first, limit));
    }
    let alive = status.state == ContainerState::Running && !previous;
    if !options.follow || !alive {
        return text(StatusCode::OK, first);
    }
    let (sender, receiver) = mpsc::channel::<Bytes>(16);
    let (config, id) = (config.clone(), status.id.clone());
    tokio::spawn(async move {
        if sender.send(Bytes::from(first)).await.is_ok()
            && let Err(error) = follow(&config, &id, &path, complete as u64, &options, &sender).await
        {
            tracing::debug!(%error, "following a log ended");
        }
    });
    let stream = futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|b| (b, r)) });
    let body = StreamBody::new(stream.map(|b| Ok(Frame::data(b)))).boxed_unsync();
    Response::new(body)
}

fn floor(text: &str, limit: usize) -> usize {
    let mut at = limit.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Sends what is appended to a log until its container has ended or the client is gone.
async fn follow(
    config: &Config,
    id: &str,
    path: &Path,
    from: u64,
    options: &Options,
    sender: &mpsc::Sender<Bytes>,
) -> std::io::Result<()> {
    let notify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let watch = |notify: &Inotify| notify.add_watch(path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF);
    watch(&notify)?;
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned and outlives the registration")]
    let ready = AsyncFd::new(notify.as_fd().try_clone_to_owned()?)?;
    let mut events = config.runtime.events();
    let mut file = BufReader::new(tokio::fs::File::open(path).await?);
    file.seek(std::io::SeekFrom::Start(from)).await?;
    let (mut line, mut ended) = (String::new(), false);
    loop {
        loop {
            let read = file.read_line(&mut line).await?;
            if read == 0 || !line.ends_with('\n') {
                break;
            }
            if let Some(text) = options.shown(line.trim_end_matches('\n'))
                && sender.send(Bytes::from(text)).await.is_err()
            {
                return Ok(());
            }
            line.clear();
        }
        if ended {
            return Ok(());
        }
        tokio::select! {
            guard = ready.readable() => {
                guard?.clear_ready();
                let changes = notify.read_events().unwrap_or_default();
                if changes.iter().any(|e| e.mask.contains(AddWatchFlags::IN_MOVE_SELF)) {
                    // The log was rotated: go on in the new file.
                    file = BufReader::new(tokio::fs::File::open(path).await?);
                    watch(&notify)?;
                }
            }
            event = events.recv() => {
                let over = |e: &ironclad_cri::ContainerEvent| e.id == id && e.kind != ironclad_cri::ContainerEventKind::Started;
                ended = event.is_ok_and(|e| over(&e));
            }
            () = sender.closed() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_as_asked() {
        let line = "2026-01-01T00:00:00.5Z stdout F hello world";
        assert_eq!(Options::default().shown(line).unwrap(), "hello world\n");
        let stamped = Options { timestamps: true, ..Options::default() };
        assert_eq!(stamped.shown(line).unwrap(), "2026-01-01T00:00:00.5Z hello world\n");
        let later = Options { since: Some("2026-01-01T00:00:01Z".parse().unwrap()), ..Options::default() };
        assert_eq!(later.shown(line), None);
        assert_eq!(Options::default().shown("2026-01-01T00:00:00Z stdout P part").unwrap(), "part");
    }
}
