//! Request info: what a request is about, from its method, path and query alone.

use http::{Method, Request, Uri};
use ironclad_api::ApiError;
use std::collections::HashMap;

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) path: String,
    pub(crate) is_resource: bool,
    /// `get`, `list`, ... for resources; the lower-case method for other paths.
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// What follows the subresource, for proxies.
    pub(crate) rest: String,
    pub(crate) query: Query,
    /// Whether a patch is an apply.
    pub(crate) applies: bool,
    /// Whether the path has the old form of watches.
    pub(crate) old_watch: bool,
    /// What admission notes about the request for the audit log.
    pub(crate) annotations: ironclad_admission::Annotations,
}

/// Decoded query parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(pub(crate) HashMap<String, Vec<String>>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let mut map: HashMap<String, Vec<String>> = HashMap::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            map.entry(decode(key)).or_default().push(decode(value));
        }
        Self(map)
    }

    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).and_then(|v| v.first()).map_or("", String::as_str)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether a flag is set: only its absence, `false` and `0` mean no.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key), "false" | "0" | "False" | "FALSE")
    }

    /// Refuses what should be a number and is none.
    pub(crate) fn check_numbers(&self, keys: &[&str]) -> Result<(), ApiError> {
        for key in keys {
            let text = self.get(key);
            if !text.is_empty() && text.parse::<i64>().is_err() {
                let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                let large = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                let why = if large { "value out of range" } else { "invalid syntax" };
                let why = format!("strconv.ParseInt: parsing {text:?}: {why}");
                return Err(ApiError::bad_request(why));
            }
        }
        Ok(())
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.get(key).parse().ok()
    }
}

/// Undoes percent encoding; `+` is a space.
pub(crate) fn decode(text: &str) -> String {
    undo(text, b' ')
}

/// Undoes percent encoding of a part of a path, where `+` is itself.
fn decode_path(text: &str) -> String {
    undo(text, b'+')
}

fn undo(text: &str, plus: u8) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match bytes[at] {
            b'%' => match (hex(at + 1), hex(at + 2)) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    at += 2;
                }
                _ => out.push(b'%'),
            },
            b'+' => out.push(plus),
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Info {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let mut info = Self::asked(request.method(), request.uri());
        let kind = request.headers().get(http::header::CONTENT_TYPE);
        info.applies = info.is_resource && kind.is_some_and(|k| k.as_bytes().starts_with(b"application/apply-patch"));
        info
    }

    fn asked(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let query = Query::parse(uri.query().unwrap_or_default());
        let mut info = Self { path: path.to_owned(), query, ..Self::default() };
        info.verb = method.as_str().to_lowercase();
        let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode_path).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let rest = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => {
                info.path = decode_path(path);
                return info;
            }
        };
        info.resource_path(rest, path);
        info.resource_verb(method);
        info
    }

    fn resource_path(&mut self, rest: &[&str], path: &str) {
        self.is_resource = true;
        let rest = match rest {
            // A path below a namespace, or the namespace itself with its own subresources.
            ["namespaces", name, sub, ..] if !matches!(*sub, "status" | "finalize") => {
                self.namespace = (*name).to_owned();
                &rest[2..]
            }
            ["namespaces", name, ..] => {
                self.namespace = (*name).to_owned();
                rest
            }
            // The old form of watches.
            ["watch", more @ ..] if !more.is_empty() => {
                self.query.0.insert("watch".to_owned(), vec!["true".to_owned()]);
                self.old_watch = true;
                return self.resource_path(more, path);
            }
            _ => rest,
        };
        let text = |i: usize| rest.get(i).map(|s| (*s).to_owned()).unwrap_or_default();
        self.resource = text(0);
        self.name = text(1);
        self.subresource = text(2);
        if rest.len() > 3 {
            // The rest keeps its encoding and its last slash.
            let skip = path.split('/').filter(|p| !p.is_empty()).count() - (rest.len() - 3);
            let mut left = path;
            for _ in 0..skip {
                left = left.trim_start_matches('/');
                left = left.find('/').map_or("", |i| &left[i..]);
            }
            left.trim_start_matches('/').clone_into(&mut self.rest);
        }
    }

    fn resource_verb(&mut self, method: &Method) {
        let named = !self.name.is_empty();
        let watching = self.query.flag("watch");
        let verb = match (method.as_str(), named) {
            ("GET" | "HEAD", true) if self.old_watch => "watch",
            ("GET" | "HEAD", true) => "get",
            ("GET" | "HEAD", false) if watching => "watch",
            ("GET" | "HEAD", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            _ => "",
        };
        verb.clone_into(&mut self.verb);
    }

    /// Whether the request lasts as long as the client wants.
    pub(crate) fn is_long(&self) -> bool {
        self.verb == "watch"
            || !self.is_resource && self.path.starts_with("/debug/pprof/")
            || matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy" | "log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(method: &str, uri: &str) -> Info {
        Info::of(&Request::builder().method(method).uri(uri).body(()).unwrap())
    }

    #[test]
    fn paths_are_understood() {
        let table = [
            ("GET", "/api/v1/namespaces", "list", "", "namespaces", "", ""),
            ("GET", "/api/v1/namespaces/a", "get", "a", "namespaces", "a", ""),
            ("PUT", "/api/v1/namespaces/a/finalize", "update", "a", "namespaces", "a", "finalize"),
            ("GET", "/api/v1/namespaces/a/pods", "list", "a", "pods", "", ""),
            ("GET", "/apis/apps/v1/deployments?watch=1", "watch", "", "deployments", "", ""),
            ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection", "a", "pods", "", ""),
            ("GET", "/api/v1/namespaces/a/pods/b/log", "get", "a", "pods", "b", "log"),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch", "a", "pods", "", ""),
        ];
        for (method, uri, verb, namespace, resource, name, sub) in table {
            let i = info(method, uri);
            assert!(i.is_resource);
            let got = (&*i.verb, &*i.namespace, &*i.resource, &*i.name, &*i.subresource);
            assert_eq!(got, (verb, namespace, resource, name, sub), "{uri}");
        }
        assert!(!info("GET", "/apis/apps/v1").is_resource);
        assert!(!info("GET", "/version").is_resource);
    }

    #[test]
    fn flags_and_numbers_are_read_as_stock_reads_them() {
        let query = Query::parse("a&b=true&c=0&d=false&e=yes&limit=x&n=5");
        let set: Vec<&str> = ["a", "b", "c", "d", "e", "f"].into_iter().filter(|k| query.flag(k)).collect();
        assert_eq!(set, ["a", "b", "e"]);
        assert!(query.check_numbers(&["n", "none"]).is_ok());
        let error = query.check_numbers(&["limit"]).unwrap_err();
        assert_eq!(error.message, "strconv.ParseInt: parsing \"x\": invalid syntax");
    }

    #[test]
    fn a_proxy_path_keeps_its_rest() {
        let i = info("GET", "/api/v1/namespaces/a/services/b:http/proxy/x%2Fy/z/?q=1");
        assert_eq!((&*i.name, &*i.subresource, &*i.rest), ("b:http", "proxy", "x%2Fy/z/"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_path_is_understood_in_some_way(
            path in "/(api|apis|)?(/(v1|apps|watch|namespaces|proxy|[a-z%0-9.]{0,6}|%2[eEfF]|\\.\\.|)){0,9}",
            query in "[a-z=&%+0-9*]{0,40}",
            method in prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
        ) {
            if let Ok(uri) = format!("{path}?{query}").parse::<http::Uri>() {
                let request = Request::builder().method(method).uri(uri).body(()).unwrap();
                let info = Info::of(&request);
                prop_assert!(!info.is_resource || !info.resource.contains('/') || path.contains('%'));
            }
        }

        #[test]
        fn any_text_is_decoded(text in any::<String>()) {
            let decoded = decode(&text);
            prop_assert!(decoded.len() <= text.len() * 3);
            Query::parse(&text);
        }
    }
}
