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

/// Reads a whole body of at most [`LIMIT`] bytes.
pub(crate) async fn read<B>(body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<tower::BoxError>,
{
    let too_large =
        || ApiError::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {LIMIT}"));
    if body.size_hint().lower() > LIMIT as u64 {
        return Err(too_large());
    }
    let mut body = body;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("cannot read the body: {}", e.into())))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > LIMIT {
            return Err(too_large());
        }
        if all.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
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
