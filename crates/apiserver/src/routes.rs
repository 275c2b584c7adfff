//! Which methods there are at which paths: what stock's router knows before anything of a request is read.

use crate::request::Info;
use http::Method;
use ironclad_api::{ApiError, Reason};
use ironclad_kinds::{Kind, Verb};

/// 405 for a path at which something else can be done.
pub(crate) fn not_allowed() -> ApiError {
    let message = "the server does not allow this method on the requested resource";
    ApiError { details: Some(Box::default()), ..ApiError::new(Reason::MethodNotAllowed, message) }
}

/// Refuses what no path of a built-in kind takes. Custom resources are routed by their own rules.
pub(crate) fn check(method: &Method, info: &Info, kind: &Kind) -> Result<(), ApiError> {
    if kind.custom.is_some() {
        return Ok(());
    }
    if info.subresource == "proxy" {
        let known = matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS");
        return if known { Ok(()) } else { Err(not_allowed()) };
    }
    let only_made = kind.verbs == Verb::CREATE;
    if info.path.contains("//") || !info.rest.is_empty() || (only_made && !info.name.is_empty()) {
        return Err(ApiError::no_such_path());
    }
    let everywhere = kind.namespaced && info.namespace.is_empty() && !only_made;
    let allowed = match (&*info.subresource, method.as_str()) {
        ("", "GET") if info.name.is_empty() => kind.allows(Verb::List) || kind.allows(Verb::Watch),
        ("", "POST") if info.name.is_empty() => kind.allows(Verb::Create) && !everywhere,
        ("", "DELETE") if info.name.is_empty() => kind.allows(Verb::DeleteCollection) && !everywhere,
        ("", _) if info.name.is_empty() => false,
        ("", "GET") => kind.allows(Verb::Get),
        ("", "PUT") => kind.allows(Verb::Update),
        ("", "PATCH") => kind.allows(Verb::Patch),
        ("", "DELETE") => kind.allows(Verb::Delete),
        ("", _) => false,
        (sub, _) if kind.subresource(sub).is_none() => return Ok(()),
        ("log", method) => method == "GET",
        ("exec" | "attach" | "portforward", method) => matches!(method, "GET" | "POST"),
        ("binding" | "eviction" | "token", method) => method == "POST",
        ("finalize", method) => method == "PUT",
        (_, method) => matches!(method, "GET" | "PUT" | "PATCH"),
    };
    if allowed { Ok(()) } else { Err(not_allowed()) }
}

/// The form of a document that is no resource, if stock's router serves it.
pub(crate) fn document(path: &str) -> Option<&'static str> {
    match path {
        "/version" | "/.well-known/openid-configuration" => Some("application/json"),
        "/openid/v1/jwks" => Some("application/jwk-set+json"),
        _ => None,
    }
}

/// Refuses methods other than GET for the documents that stock's router serves.
pub(crate) fn check_document(method: &Method, path: &str) -> Result<(), ApiError> {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    let routed = match parts.next() {
        Some("api" | "version" | ".well-known" | "openid") => true,
        // What a group says of itself comes from elsewhere.
        Some("apis") => parts.count() > 1,
        _ => false,
    };
    if routed && method != Method::GET { Err(not_allowed()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_stocks_router() {
        let table = [
            ("GET", "/api/v1/namespaces/a/configmaps", 200),
            ("HEAD", "/api/v1/namespaces/a/configmaps", 405),
            ("POST", "/api/v1/configmaps", 405),
            ("PUT", "/api/v1/namespaces/a/configmaps", 405),
            ("POST", "/api/v1/namespaces/a/configmaps/c", 405),
            ("GET", "/api/v1/namespaces/a/pods/p/log", 200),
            ("POST", "/api/v1/namespaces/a/pods/p/log", 405),
            ("POST", "/api/v1/namespaces/a/pods/p/exec", 200),
            ("GET", "/api/v1/namespaces/a/pods/p/eviction", 405),
            ("GET", "/api/v1/namespaces/a/finalize", 405),
            ("GET", "/api/v1/namespaces/a/pods/p/status/x", 404),
            ("GET", "/api/v1/namespaces/a//pods", 404),
            ("DELETE", "/api/v1/namespaces/a/pods/p/proxy/x//y", 200),
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", 200),
            ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", 405),
            ("GET", "/apis/authentication.k8s.io/v1/tokenreviews/x", 404),
        ];
        let kinds = ironclad_kinds::all();
        for (method, path, want) in table {
            let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
            let info = Info::of(&request);
            let kind = kinds.iter().find(|k| *k.group == *info.group && *k.plural == *info.resource).unwrap();
            let got = check(request.method(), &info, kind).map_or_else(|e| e.code, |()| 200);
            assert_eq!(got, want, "{method} {path}");
        }
        for (method, path, want) in [("POST", "/version", 405), ("HEAD", "/api/v1", 405), ("POST", "/apis", 200)] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(check_document(&method, path).map_or_else(|e| e.code, |()| 200), want, "{method} {path}");
        }
    }
}
