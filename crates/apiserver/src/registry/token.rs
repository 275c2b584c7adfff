//! Continue tokens, in the form of stock servers: at which revision a list is, and behind which key it goes on.
//!
//! A token comes back from outside: it never leads out of the prefix of its request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ironclad_api::ApiError;
use ironclad_json::{Value, json};
use ironclad_store::Revision;

const VERSION: &str = "meta.k8s.io/v1";

/// What the rest of a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The state at a revision.
    At(Revision),
    /// Whatever is newest: the list is no longer consistent.
    Newest,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) start: Start,
    /// The last key that was answered.
    pub(super) key: String,
}

impl Token {
    /// The token for a list of keys that begin with `prefix`.
    pub(super) fn encode(&self, prefix: &str) -> String {
        let revision: i64 = match self.start {
            Start::At(revision) => revision.0 as i64,
            Start::Newest => -1,
        };
        let key = self.key.strip_prefix(prefix).unwrap_or(&self.key);
        let start = json!(format!("/{key}\0"));
        URL_SAFE_NO_PAD.encode(format!("{{\"v\":\"{VERSION}\",\"rv\":{revision},\"start\":{start}}}"))
    }

    pub(super) fn decode(text: &str, prefix: &str) -> Result<Self, ApiError> {
        let bad =
            |why: String| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| bad(illegal(text)))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|e| bad(ironclad_schema::json::in_go(&e, &bytes)))?;
        let version = value["v"].as_str().unwrap_or_default();
        if version != VERSION {
            return Err(bad(format!("server does not recognize this encoded version {version}")));
        }
        let start = match value["rv"].as_i64() {
            Some(revision) if revision < 0 => Start::Newest,
            Some(revision) if revision > 0 => Start::At(Revision(revision as u64)),
            _ => return Err(bad(format!("incorrect encoded start resourceVersion (version {VERSION})"))),
        };
        let sent = value["start"].as_str().unwrap_or_default();
        if sent.is_empty() {
            return Err(bad(format!("encoded start key empty (version {VERSION})")));
        }
        let key = sent.strip_prefix('/').unwrap_or(sent);
        // Keys are names between slashes: whatever is no such path was not made here.
        let key = key.strip_suffix('\0').unwrap_or(key);
        if key.starts_with('/') || key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad(sent.to_owned()));
        }
        Ok(Self { start, key: format!("{prefix}{key}") })
    }
}

/// Where Go stops reading a token that is none.
fn illegal(text: &str) -> String {
    let sign = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let at = text.bytes().position(|b| !sign(b)).unwrap_or_else(|| text.len().saturating_sub(1));
    format!("illegal base64 data at input byte {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/registry/pods/";

    #[test]
    fn tokens_are_those_of_stock_servers() {
        let token = Token { start: Start::At(Revision(7)), key: "/registry/pods/default/a".into() };
        let text = token.encode(PREFIX);
        let plain = URL_SAFE_NO_PAD.decode(&text).unwrap();
        let want = json!({"v": "meta.k8s.io/v1", "rv": 7, "start": "/default/a\u{0}"});
        assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap(), want);
        assert_eq!(Token::decode(&text, PREFIX).unwrap(), token);
        let newest = Token { start: Start::Newest, ..token };
        assert_eq!(Token::decode(&newest.encode(PREFIX), PREFIX).unwrap(), newest);
    }

    #[test]
    fn a_token_never_leads_out_of_its_prefix() {
        let made = |v: Value| URL_SAFE_NO_PAD.encode(v.to_string());
        for (text, why) in [
            ("%".to_owned(), "illegal base64 data at input byte 0"),
            (made(json!({"v": "v2", "rv": 1, "start": "a"})), "does not recognize"),
            (made(json!({"v": VERSION, "rv": 0, "start": "a"})), "incorrect encoded start resourceVersion"),
            (made(json!({"v": VERSION, "rv": 1, "start": ""})), "start key empty"),
            (made(json!({"v": VERSION, "rv": 1, "start": "../secrets/a"})), "not valid: ../secrets/a"),
            (made(json!({"v": VERSION, "rv": 1, "start": "a/../../secrets/a"})), "not valid: a/../../secrets/a"),
            (made(json!({"v": VERSION, "rv": 1, "start": "//a"})), "not valid: //a"),
        ] {
            let error = Token::decode(&text, PREFIX).unwrap_err();
            assert_eq!(error.code, 400);
            assert!(error.message.contains("continue key is not valid: ") && error.message.contains(why), "{error}");
        }
    }
}
