//! Logs: the lines of a container's log, older parts of it first, followed through new ones where that is asked.
//!
//! Invariant: a log is read in pieces of bounded size, however long it is; its bytes are sent as they are.

mod lines;
mod tail;

use super::{Body, Place, Query, text};
use crate::worker::Shared;
use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ironclad_cri::{ContainerEventKind, ContainerState, ContainerStatus};
use lines::{Options, Sender};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

/// Longest record in bytes: 16 KiB of text with its head.
const MAX_RECORD: usize = 20 * 1024;

/// Why there is no log: the words that kubectl's users know.
fn refused(place: &Place<'_>, shared: &Shared) -> String {
    let (container, pod) = (place.container, place.pod);
    let found = shared.table.find(place.namespace, pod);
    let status = found.as_ref().and_then(|p| p.status.as_ref());
    let lists = status.map(|s| [&s.container_statuses, &s.init_container_statuses, &s.ephemeral_container_statuses]);
    let mut all = lists.iter().flatten().flat_map(|l| l.iter().flatten());
    let waiting = all.find(|s| s.name == container).and_then(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let why = match waiting.as_deref() {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => "ContainerCreating",
    };
    format!("container {container:?} in pod {pod:?} is waiting to start: {why}")
}

/// The container whose log is meant, and the file.
async fn source(
    shared: &Shared,
    place: &Place<'_>,
    previous: bool,
) -> Result<(ContainerStatus, PathBuf), Response<Body>> {
    let bad = |message: String| text(StatusCode::BAD_REQUEST, message);
    let all = super::containers(shared, place).await;
    let begun = |c: &&ContainerStatus| matches!(c.state, ContainerState::Running | ContainerState::Exited);
    let mut begun = all.iter().filter(begun);
    let found = if previous {
        let before = || {
            let (container, pod) = (place.container, place.pod);
            bad(format!("previous terminated container {container:?} in pod {pod:?} not found"))
        };
        begun.nth(1).ok_or_else(before)?
    } else {
        begun.next().ok_or_else(|| bad(refused(place, shared)))?
    };
    Ok((found.clone(), PathBuf::from(&found.log_path)))
}

pub(super) async fn answer(shared: &Shared, place: Place<'_>, query: &Query) -> Response<Body> {
    let options = match Options::parse(query) {
        Ok(options) => options,
        Err(why) => return text(StatusCode::UNPROCESSABLE_ENTITY, why),
    };
    let (status, path) = match source(shared, &place, options.previous).await {
        Ok(found) => found,
        Err(refusal) => return refusal,
    };
    let (bytes, receiver) = mpsc::channel::<Bytes>(16);
    let shared = shared.clone();
    tokio::spawn(async move {
        let mut sender = Sender::new(bytes, options);
        if let Err(error) = send(&shared, &status, &path, &mut sender).await {
            tracing::debug!(%error, path = %path.display(), "sending a log ended");
        }
    });
    let stream = futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|b| (b, r)) });
    let body = StreamBody::new(stream.map(|b| Ok(Frame::data(b)))).boxed_unsync();
    let mut response = Response::new(body);
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

type File = BufReader<tokio::fs::File>;

/// Sends the records from here to the end of a file; an incomplete one stays in `line`. Whether more is wanted.
async fn drain<R>(file: &mut R, line: &mut Vec<u8>, sender: &mut Sender) -> std::io::Result<bool>
where
    R: AsyncBufRead + Unpin,
{
    loop {
        let read = file.read_until(b'\n', line).await?;
        if read == 0 || line.last() != Some(&b'\n') && line.len() < MAX_RECORD {
            return Ok(true);
        }
        if !sender.record(line).await {
            return Ok(false);
        }
        line.clear();
    }
}

async fn send(shared: &Shared, status: &ContainerStatus, path: &Path, sender: &mut Sender) -> std::io::Result<()> {
    let follow = sender.options.follow && !sender.options.previous;
    // Both begin before the first look, so that nothing is missed.
    let mut events = shared.config.runtime.events();
    let changes = if follow { Some(Changes::of(path)?) } else { None };
    let (log, wanted) = (path.to_owned(), sender.options.tail);
    let start =
        tokio::task::spawn_blocking(move || tail::start(&log, wanted)).await.map_err(std::io::Error::other)??;
    let mut line = Vec::new();
    let mut last: Option<(File, u64)> = None;
    for part in start {
        let opened = match tokio::fs::File::open(&part.path).await {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let inode = opened.metadata().await?.ino();
        let mut file = BufReader::new(opened);
        file.seek(std::io::SeekFrom::Start(part.from)).await?;
        line.clear();
        let more = match follow {
            true => drain(&mut file, &mut line, sender).await?,
            false => drain(&mut (&mut file).take(part.to.saturating_sub(part.from)), &mut line, sender).await?,
        };
        if !more || !sender.flush().await {
            return Ok(());
        }
        last = Some((file, inode));
    }
    let Some(changes) = changes else { return Ok(()) };
    let mut ended = !runs(shared, &status.id).await;
    loop {
        if let Some((file, inode)) = &mut last {
            if !drain(file, &mut line, sender).await? || !sender.flush().await {
                return Ok(());
            }
            // After a rotation the log goes on in a new file.
            if let Ok(now) = tokio::fs::metadata(path).await
                && now.ino() != *inode
            {
                last = None;
            }
        }
        if last.is_none() {
            match tokio::fs::File::open(path).await {
                Ok(file) => {
                    let inode = file.metadata().await?.ino();
                    last = Some((BufReader::new(file), inode));
                    line.clear();
                    continue;
                }
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                Err(_) => {}
            }
        }
        if ended {
            return Ok(());
        }
        tokio::select! {
            changed = changes.wait() => changed?,
            event = events.recv() => match event {
                Ok(e) => ended = e.id == status.id && matches!(e.kind, ContainerEventKind::Stopped | ContainerEventKind::Deleted),
                Err(_) => ended = !runs(shared, &status.id).await,
            },
            () = sender.closed() => return Ok(()),
        }
    }
}

async fn runs(shared: &Shared, id: &str) -> bool {
    let status = shared.config.runtime.container_status(id).await;
    status.is_ok_and(|s| s.state == ContainerState::Running)
}

/// Changes of a log: of its file, and of which file it is.
struct Changes {
    notify: Inotify,
    ready: AsyncFd<std::os::fd::OwnedFd>,
}

impl Changes {
    fn of(path: &Path) -> std::io::Result<Self> {
        let notify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_FROM;
        notify.add_watch(dir, flags)?;
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned and outlives the registration")]
        let ready = AsyncFd::new(notify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { notify, ready })
    }

    async fn wait(&self) -> std::io::Result<()> {
        self.ready.readable().await?.clear_ready();
        while self.notify.read_events().is_ok_and(|e| !e.is_empty()) {}
        Ok(())
    }
}
