//! Headers on their way to another server and back.
//!
//! Invariant: who the user is, is said by us alone: whatever a client sends that another server could take for it is
//! removed, however it is spelled. What is about one connection is not passed on.

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use ironclad_api::UserInfo;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// Whether the client wants another protocol on its connection.
pub(super) fn upgrades(headers: &HeaderMap) -> bool {
    let named = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok());
    headers.contains_key(UPGRADE)
        && named.flat_map(|v| v.split(',')).any(|part| part.trim().eq_ignore_ascii_case("upgrade"))
}

/// Removes what is about one connection only.
pub(super) fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|part| part.trim().parse().ok())
        .collect();
    let fixed = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in named.into_iter().chain(fixed) {
        headers.remove(name);
    }
}

/// Whether a header could be taken for one that says who the user is; some servers read `_` as `-`.
fn names_user(header: &HeaderName) -> bool {
    let plain = header.as_str().replace('_', "-");
    plain.starts_with("x-remote-") || plain.starts_with("impersonate-")
}

/// The headers of a request for another server: the client's, with the user in them.
pub(super) fn outward(headers: &HeaderMap, user: &UserInfo, upgrade: bool) -> HeaderMap {
    let mut out = headers.clone();
    // By `Connection` a client could have the headers removed that are set here.
    strip_hops(&mut out);
    let claimed: Vec<HeaderName> = out.keys().filter(|k| names_user(k)).cloned().collect();
    for name in claimed.into_iter().chain([AUTHORIZATION, HOST]) {
        out.remove(name);
    }
    if upgrade {
        out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        for value in headers.get_all(UPGRADE) {
            out.append(UPGRADE, value.clone());
        }
    }
    identify(&mut out, user);
    out
}

/// Says who the user is.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let mut add = |name: HeaderName, value: &str| {
        // A name that no header can hold names nobody.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    user.groups.iter().for_each(|group| add(GROUP, group));
    for (key, values) in &user.extra {
        if let Ok(name) = HeaderName::from_bytes(format!("{EXTRA}{}", escaped(key)).as_bytes()) {
            values.iter().for_each(|value| add(name.clone(), value));
        }
    }
}

/// A key as part of a header's name: what cannot stand there, and `%`, is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for b in key.bytes() {
        match b {
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => {
                out.push(b as char);
            }
            b if b.is_ascii_alphanumeric() => out.push(b.to_ascii_lowercase() as char),
            b => out.push_str(&format!("%{b:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse::<HeaderName>().unwrap(), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn header_smuggling_a_client_cannot_say_who_it_is_however_it_spells_it() {
        let sent = headers(&[
            ("x-remote-user", "admin"),
            ("X_Remote_User", "admin"),
            ("x-remote_group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("x-remote-uid", "0"),
            ("impersonate-user", "admin"),
            ("authorization", "Bearer secret"),
            ("accept", "application/json"),
        ]);
        let mut user = UserInfo::new("bob", &["dev"]);
        user.extra.insert("example.com/Scope".into(), vec!["a".into(), "b".into()]);
        let out = outward(&sent, &user, false);
        let all = |name: &str| -> Vec<&HeaderValue> { out.get_all(name).iter().collect() };
        assert_eq!(all("x-remote-user"), ["bob"]);
        assert_eq!(all("x-remote-group"), ["dev", "system:authenticated"]);
        assert_eq!(all("x-remote-extra-example.com%2fscope"), ["a", "b"]);
        assert_eq!(out.len(), 6, "{out:?}");
    }

    #[test]
    fn header_smuggling_a_client_cannot_have_our_headers_removed() {
        let sent = headers(&[("connection", "x-remote-user, keep-alive, x-odd"), ("x-odd", "1"), ("te", "trailers")]);
        let out = outward(&sent, &UserInfo::new("bob", &[]), false);
        assert_eq!(out.get(USER).unwrap(), "bob");
        assert!(out.get("x-odd").is_none() && out.get(TE).is_none() && out.get(CONNECTION).is_none());
    }

    #[test]
    fn an_upgrade_keeps_what_it_needs() {
        let sent =
            headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")]);
        assert!(upgrades(&sent));
        assert!(!upgrades(&headers(&[("upgrade", "h2c")])));
        let out = outward(&sent, &UserInfo::anonymous(), true);
        for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")] {
            assert_eq!(out[name], value);
        }
    }
}
