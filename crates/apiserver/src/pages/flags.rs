//! `/debug/flags`: flags that can be changed while the server runs. There is one, how much is logged.

use crate::server::Inner;
use crate::{Body, body, respond};
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Method, Request, Response, StatusCode};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");
const INDEX: &str = "<html>\n<head>\n<title>/debug/flags/</title>\n</head>\n<body>\n/debug/flags/<br>\n<br>\nflags:<br>\n\
    <table>\n<tr>v<br>\n</table>\n<br>\nfull flags configurable<br>\n</body>\n</html>\n";

/// Whether a path is answered here.
pub(crate) fn is_here(inner: &Inner, path: &str) -> bool {
    inner.about.profiling && (path == "/debug/flags" || path.starts_with("/debug/flags/"))
}

/// Answers a path below `/debug/flags`.
pub(crate) async fn answer(inner: &Inner, path: &str, request: Request<Body>) -> Response<Body> {
    if path != "/debug/flags/v" {
        return respond::kind(StatusCode::OK, HTML, INDEX);
    }
    if request.method() != Method::PUT {
        return said(StatusCode::NOT_ACCEPTABLE, "unsupported http method".to_owned());
    }
    let body = match body::read(request.into_body()).await {
        Ok(body) => String::from_utf8_lossy(&body).into_owned(),
        Err(error) => return said(StatusCode::BAD_REQUEST, error.message),
    };
    match number(&body) {
        Ok(number) => {
            if let Some(set) = inner.about.verbosity {
                set(number);
            }
            said(StatusCode::OK, format!("successfully set klog.logging.verbosity to {body}"))
        }
        Err(why) => said(StatusCode::BAD_REQUEST, why),
    }
}

/// A verbosity, or why it is none, as Go says it.
fn number(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let why = if digits { "value out of range" } else { "invalid syntax" };
    let parsed = text.parse::<i32>().ok().filter(|_| digits).and_then(|n| u32::try_from(n).ok());
    parsed.ok_or_else(|| format!("strconv.ParseUint: parsing {text:?}: {why}"))
}

fn said(code: StatusCode, text: String) -> Response<Body> {
    let mut response = respond::kind(code, PLAIN, text + "\n");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verbosity_is_digits_alone() {
        let wrong = |text: &str, why: &str| Err(format!("strconv.ParseUint: parsing {text:?}: {why}"));
        assert_eq!(number("4"), Ok(4));
        for text in ["", "bad", "-1", "+1", "2\n", "0x10"] {
            assert_eq!(number(text), wrong(text, "invalid syntax"));
        }
        assert_eq!(number("99999999999"), wrong("99999999999", "value out of range"));
    }
}
