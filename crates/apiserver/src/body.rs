//! Bodies: what comes in, within limits, and what goes out, as chains of shared bytes.

use crate::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use ironclad_api::{ApiError, Reason};
use std::collections::VecDeque;
use std::convert::Infallible;

/// What a request may hold.
pub(crate) const LIMIT: usize = 3 << 20;

/// How much of a body that is too large is still taken in, so that clients which write before they read see the refusal.
const UNREAD: usize = 8 << 20;

/// Reads a whole body of at most [`LIMIT`] bytes.
pub(crate) async fn read<B>(body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<tower::BoxError>,
{
    let mut body = body;
    let mut all = BytesMut::new();
    let mut fits = body.size_hint().lower() <= LIMIT as u64;
    while fits && let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("cannot read the body: {}", e.into())))?;
        let Ok(data) = frame.into_data() else { continue };
        fits = all.len() + data.len() <= LIMIT;
        if fits && all.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        all.extend_from_slice(&data);
    }
    if fits {
        return Ok(all.freeze());
    }
    drop(all);
    pass_over(body).await;
    let why = format!("Request entity too large: limit is {LIMIT}");
    Err(ApiError::new(Reason::RequestEntityTooLarge, why))
}

/// Reads on and keeps nothing, up to [`UNREAD`] bytes.
pub(crate) async fn pass_over<B: http_body::Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = UNREAD;
    while let Some(length) = body.frame().await.and_then(|f| Some(f.ok()?.data_ref().map_or(0, Bytes::len))) {
        if length > left {
            return;
        }
        left -= length;
    }
}

/// A body that goes on until its stream ends.
pub(crate) fn stream(pieces: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
    let frames = futures::StreamExt::map(pieces, |b| Ok(hyper::body::Frame::data(b)));
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

/// A body of one piece.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|e: Infallible| match e {}).boxed_unsync()
}

/// Small pieces are gathered up to so many bytes: a frame of its own for each costs more than the copy.
const GATHERED: usize = 64 << 10;
/// Pieces from this size on go out as they are.
const LARGE: usize = 8 << 10;

/// A body of many pieces, which are held once however many answers share them.
pub(crate) fn chain(pieces: Vec<Bytes>) -> Body {
    Chain { left: pieces.iter().map(|p| p.len() as u64).sum(), pieces: pieces.into() }.boxed_unsync()
}

/// A body that keeps something for as long as it lasts.
pub(crate) fn with<T: Send + Unpin + 'static>(body: Body, kept: T) -> Body {
    Keeping { body, _kept: kept }.boxed_unsync()
}

struct Keeping<T> {
    body: Body,
    _kept: T,
}

impl<T: Unpin> http_body::Body for Keeping<T> {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

struct Chain {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Chain {
    fn next(&mut self) -> Option<Bytes> {
        let first = self.pieces.pop_front()?;
        if first.len() >= LARGE || self.pieces.is_empty() {
            return Some(first);
        }
        let mut gathered = BytesMut::with_capacity(GATHERED.min(self.left as usize));
        gathered.extend_from_slice(&first);
        while let Some(piece) = self.pieces.front()
            && piece.len() < LARGE
            && gathered.len() + piece.len() <= GATHERED
        {
            gathered.extend_from_slice(piece);
            self.pieces.pop_front();
        }
        Some(gathered.freeze())
    }
}

impl http_body::Body for Chain {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.next();
        self.left -= next.as_ref().map_or(0, |b| b.len() as u64);
        std::task::Poll::Ready(next.map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A body of so many MiB, and how many of them were read.
    fn sent(mebibytes: usize) -> (Body, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        let pieces = futures::stream::iter(0..mebibytes).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Bytes::from(vec![b' '; 1 << 20])
        });
        (stream(pieces), read)
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_once_it_was_taken_in_but_not_without_end() {
        for (size, taken) in [(3, Ok(3)), (4, Err(4)), (11, Err(11)), (100, Err(13))] {
            let (body, pieces) = sent(size);
            let answer = read(body).await.map(|all| all.len() >> 20).map_err(|error| {
                assert_eq!((error.code, &*error.message), (413, "Request entity too large: limit is 3145728"));
                pieces.load(Ordering::Relaxed)
            });
            assert_eq!(answer, taken, "{size} MiB");
        }
    }
}
