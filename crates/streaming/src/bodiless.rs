//! Answers to `HEAD`: what `GET` says, without its body. HTTP/1 is kept to that by hyper; over HTTP/2 a body breaks the
//! stream.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Response};
use hyper::body::Body;

/// The answer to a request by its method: for `HEAD` with `none` in the place of its body.
pub fn bodiless<B: Body>(method: &Method, response: Response<B>, none: impl FnOnce() -> B) -> Response<B> {
    if *method != Method::HEAD {
        return response;
    }
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| none());
    let headers = response.headers_mut();
    if let Some(length) = length.filter(|_| !headers.contains_key(TRANSFER_ENCODING)) {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;

    #[test]
    fn only_head_loses_its_body() {
        let answer = || Response::new(Full::new(Bytes::from_static(b"hello")));
        let size = |r: &Response<Full<Bytes>>| r.body().size_hint().exact();
        let got = bodiless(&Method::GET, answer(), Full::default);
        assert_eq!((size(&got), got.headers().len()), (Some(5), 0));
        let got = bodiless(&Method::HEAD, answer(), Full::default);
        assert_eq!((size(&got), &got.headers()[CONTENT_LENGTH]), (Some(0), &HeaderValue::from_static("5")));
    }
}
