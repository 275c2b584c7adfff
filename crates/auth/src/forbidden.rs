//! How a refusal is worded for the client.

use crate::Attributes;
use ironclad_api::{ApiError, GroupResource, Reason};

/// 403 as stock words it: `pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "a"`.
pub fn forbidden(a: &Attributes, reason: &str) -> ApiError {
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let user = &a.user.name;
    if !a.is_resource {
        let message = format!("forbidden: User {user:?} cannot {} path {:?}{because}", a.verb, a.path);
        return ApiError::new(Reason::Forbidden, message).about(&GroupResource::default(), "");
    }
    let resource =
        if a.subresource.is_empty() { a.resource.clone() } else { format!("{}/{}", a.resource, a.subresource) };
    let place = match a.namespace.as_str() {
        "" => " at the cluster scope".to_owned(),
        namespace => format!(" in the namespace {namespace:?}"),
    };
    let group = &a.group;
    let why = format!("User {user:?} cannot {} resource {resource:?} in API group {group:?}{place}{because}", a.verb);
    ApiError::forbidden(&GroupResource::new(group, &a.resource), &a.name, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_api::UserInfo;

    #[test]
    fn refusals_read_as_stock_words_them() {
        let bob = Attributes {
            user: UserInfo::new("bob", &[]),
            verb: "list".into(),
            resource: "pods".into(),
            namespace: "default".into(),
            is_resource: true,
            ..Attributes::default()
        };
        let log = Attributes { verb: "get".into(), subresource: "log".into(), name: "a".into(), ..bob.clone() };
        let nodes = Attributes { namespace: String::new(), resource: "nodes".into(), ..bob.clone() };
        let path = Attributes { verb: "get".into(), path: "/metrics".into(), is_resource: false, ..bob.clone() };
        let table = [
            (
                bob,
                "",
                r#"pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default""#,
            ),
            (
                log,
                "",
                r#"pods "a" is forbidden: User "bob" cannot get resource "pods/log" in API group "" in the namespace "default""#,
            ),
            (
                nodes,
                "why",
                r#"nodes is forbidden: User "bob" cannot list resource "nodes" in API group "" at the cluster scope: why"#,
            ),
            (path, "", r#"forbidden: User "bob" cannot get path "/metrics""#),
        ];
        for (attributes, reason, message) in table {
            assert_eq!(forbidden(&attributes, reason).message, message);
        }
    }
}
