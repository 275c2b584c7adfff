//! Acting as somebody else: the `Impersonate-*` headers, each value of which the real user must be allowed to take.

use crate::{Attributes, Authorizer, Decision, escape, forbidden};
use http::HeaderMap;
use ironclad_api::{ApiError, UserInfo, user};
use std::collections::BTreeMap;

const EXTRA: &str = "impersonate-extra-";
/// More values than this in one request are refused: each costs a decision.
const MOST: usize = 256;
const AUTHENTICATION: &str = "authentication.k8s.io";

/// What the headers ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The user as whom the request goes on: `real` without the headers, else the one whom they name.
pub async fn impersonated(
    real: UserInfo,
    headers: &HeaderMap,
    authorizer: &dyn Authorizer,
) -> Result<UserInfo, ApiError> {
    let Some(wanted) = wanted(headers)? else { return Ok(real) };
    for attributes in questions(&real, &wanted) {
        match authorizer.authorize(&attributes).await {
            Decision::Allow(_) => {}
            Decision::Deny(reason) | Decision::NoOpinion(reason) => return Err(forbidden(&attributes, &reason)),
        }
    }
    Ok(become_(wanted))
}

/// Takes the headers out of a request that goes on to another server.
pub fn strip_impersonation(headers: &mut HeaderMap) {
    // Some servers take an underscore in a header's name for a hyphen.
    let ours = |k: &&http::HeaderName| k.as_str().replace('_', "-").starts_with("impersonate-");
    let names: Vec<_> = headers.keys().filter(ours).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, ApiError> {
    let mut wanted = Wanted::default();
    let mut count = 0;
    for (key, value) in headers.iter().filter(|(k, _)| k.as_str().starts_with("impersonate-")) {
        let text = value
            .to_str()
            .map_err(|_| ApiError::bad_request(format!("the header {key} holds bytes that are no text")))?
            .to_owned();
        count += 1;
        match key.as_str() {
            "impersonate-user" => wanted.name = text,
            "impersonate-uid" => wanted.uid = text,
            "impersonate-group" => wanted.groups.push(text),
            other => {
                let Some(name) = other.strip_prefix(EXTRA) else { continue };
                wanted.extra.entry(escape::decoded(name)).or_default().push(text);
            }
        }
    }
    if count > MOST {
        return Err(ApiError::bad_request(format!("more than {MOST} values of impersonation headers")));
    }
    if wanted == Wanted::default() {
        return Ok(None);
    }
    if wanted.name.is_empty() {
        return Err(ApiError::bad_request(
            "requested impersonation of groups, uid or extra without impersonating a user",
        ));
    }
    Ok(Some(wanted))
}

fn account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// What must be allowed to the real user.
fn questions(real: &UserInfo, wanted: &Wanted) -> Vec<Attributes> {
    let ask = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        user: real.clone(),
        verb: "impersonate".into(),
        namespace: namespace.into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        name: name.into(),
        is_resource: true,
        ..Attributes::default()
    };
    let mut out = vec![match account(&wanted.name) {
        Some((namespace, name)) => ask("", "serviceaccounts", "", namespace, name),
        None => ask("", "users", "", "", &wanted.name),
    }];
    out.extend(wanted.groups.iter().map(|g| ask("", "groups", "", "", g)));
    if !wanted.uid.is_empty() {
        out.push(ask(AUTHENTICATION, "uids", "", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        out.extend(values.iter().map(|v| ask(AUTHENTICATION, "userextras", key, "", v)));
    }
    out
}

fn become_(wanted: Wanted) -> UserInfo {
    let mut groups = wanted.groups;
    if let Some((namespace, _)) = account(&wanted.name)
        && groups.is_empty()
    {
        groups.push("system:serviceaccounts".into());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    let known = groups.iter().any(|g| g == user::ALL_AUTHENTICATED || g == user::ALL_UNAUTHENTICATED);
    if !known {
        let anonymous = wanted.name == user::ANONYMOUS;
        groups.push(if anonymous { user::ALL_UNAUTHENTICATED } else { user::ALL_AUTHENTICATED }.to_owned());
    }
    UserInfo { name: wanted.name, uid: wanted.uid, groups, extra: wanted.extra }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (key, value) in list {
            map.append(*key, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn every_value_is_asked_for() {
        let given = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "devs"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.com%2fproject", "x"),
        ]);
        let wanted = wanted(&given).unwrap().unwrap();
        let asked: Vec<String> = questions(&UserInfo::new("bob", &[]), &wanted)
            .into_iter()
            .map(|a| format!("{}/{}/{}/{}", a.group, a.resource, a.subresource, a.name))
            .collect();
        assert_eq!(
            asked,
            [
                "/users//jane",
                "/groups//devs",
                "authentication.k8s.io/uids//7",
                "authentication.k8s.io/userextras/acme.com/project/x"
            ]
        );
        let jane = become_(wanted);
        assert_eq!(jane.groups, ["devs", "system:authenticated"]);
        assert_eq!(jane.extra["acme.com/project"], ["x"]);
    }

    #[test]
    fn accounts_get_their_groups_and_nobody_is_nameless() {
        let sa = wanted(&headers(&[("impersonate-user", "system:serviceaccount:a:web")])).unwrap().unwrap();
        assert_eq!(become_(sa).groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
        assert!(wanted(&headers(&[("impersonate-group", "system:masters")])).is_err());
        assert_eq!(wanted(&HeaderMap::new()).unwrap(), None);
    }
}
