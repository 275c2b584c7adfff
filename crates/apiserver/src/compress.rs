//! Large answers compressed for clients that take that, piece by piece as they go out.

use crate::Body;
use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Smaller answers are not worth it; the level is the fastest. Both as stock has them.
const THRESHOLD: u64 = 128 * 1024;
const LEVEL: u32 = 1;
/// How much is compressed at once, and how much is sent at once.
const INPUT: usize = 64 * 1024;
const OUTPUT: usize = 16 * 1024;

/// Compresses a whole answer of known size if it is large enough.
pub(crate) fn compress(response: Response<Body>) -> Response<Body> {
    let large = response.body().size_hint().exact().is_some_and(|n| n >= THRESHOLD);
    let fits = response.status() == StatusCode::OK && !response.headers().contains_key(CONTENT_ENCODING);
    if !large || !fits {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoder = GzEncoder::new(Vec::with_capacity(OUTPUT * 2), Compression::new(LEVEL));
    Response::from_parts(parts, Gzip { body, left: Bytes::new(), encoder: Some(encoder) }.boxed_unsync())
}

struct Gzip {
    body: Body,
    /// What came and is not compressed yet.
    left: Bytes,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl http_body::Body for Gzip {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            if encoder.get_ref().len() >= OUTPUT {
                let full = std::mem::replace(encoder.get_mut(), Vec::with_capacity(OUTPUT * 2));
                return Poll::Ready(Some(Ok(Frame::data(full.into()))));
            }
            if this.left.is_empty() {
                match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                    Some(Ok(frame)) => this.left = frame.into_data().unwrap_or_default(),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => {
                        let encoder = this.encoder.take().expect("it was there above");
                        return Poll::Ready(Some(encoder.finish().map(|b| Frame::data(b.into())).map_err(Into::into)));
                    }
                }
            }
            let part = &this.left[..this.left.len().min(INPUT)];
            // Writing to memory cannot fail, but says that it could.
            if let Err(error) = encoder.write_all(part) {
                return Poll::Ready(Some(Err(error.into())));
            }
            let done = part.len();
            this.left.advance(done);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;
    use std::io::Read;

    fn asked(pieces: Vec<Bytes>) -> Response<Body> {
        compress(Response::new(body::chain(pieces)))
    }

    #[tokio::test]
    async fn a_large_answer_comes_back_as_it_was() {
        let pieces: Vec<Bytes> = (0..50_000).map(|n| Bytes::from(format!("piece {n} "))).collect();
        let whole = pieces.concat();
        let response = asked(pieces);
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let packed = response.into_body().collect().await.unwrap().to_bytes();
        assert!(packed.len() < whole.len() / 2);
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, whole);
    }

    #[test]
    fn a_small_answer_stays() {
        let response = asked(vec![Bytes::from(vec![b'a'; THRESHOLD as usize - 1])]);
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
    }
}
