//! Acting as somebody else: the `Impersonate-*` headers.
//!
//! Invariant: a real user acts as another only in a mode (KEP-5284) that allows each value that is taken; the modes are
//! tried from the narrowest to the widest, and the first refusal is the one that is told.

mod modes;

use crate::{Attributes, Authorizer, escape, metrics};
use http::HeaderMap;
use ironclad_api::expiring::Expiring;
use ironclad_api::{ApiError, UserInfo};
use modes::{MODES, Mode};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a mode is tried first.
const REMEMBERED: Duration = Duration::from_hours(24);
const EXTRA: &str = "impersonate-extra-";
/// More values than this in one request are refused: each costs a decision.
const MOST: usize = 256;

/// Whose name a request has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonated {
    /// As whom the request goes on.
    pub user: UserInfo,
    /// The verb of the mode that allowed it; empty for the unconstrained one.
    pub constraint: String,
}

/// What the headers ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    /// Whether nothing but a name is wanted.
    fn only_name(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }
}

/// In which mode each user acted as another last: it is tried first, so that whoever does so over and over costs no more
/// than they must.
pub struct LastModes(Expiring<String, Mode>);

impl Default for LastModes {
    fn default() -> Self {
        Self(Expiring::new(10_000))
    }
}

/// As whom a request goes on when its headers say so; `request` is what is asked for, by the real user.
pub async fn impersonated(
    headers: &HeaderMap,
    request: &Attributes,
    authorizer: &dyn Authorizer,
    last: &LastModes,
) -> Result<Option<Impersonated>, ApiError> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let (first, began) = (last.0.get(&request.user.name), Instant::now());
    let tell = |mode: &str, decision: &str| {
        let labels = [("decision", decision), ("mode", mode)];
        metrics::IMPERSONATIONS.add(&labels, 1);
        metrics::IMPERSONATION_TIMES.took(&labels, began.elapsed());
    };
    let mut refusal = None;
    for mode in first.into_iter().chain(MODES.into_iter().filter(|mode| Some(*mode) != first)) {
        match mode.take(&wanted, request, authorizer).await {
            Ok(None) => {}
            Ok(Some(found)) => {
                last.0.put(request.user.name.clone(), mode, REMEMBERED);
                tell(mode.shown(), "allowed");
                return Ok(Some(found));
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    tell("", "denied");
    // The last mode takes every user or refuses.
    Err(refusal.unwrap_or_else(|| ApiError::internal("all impersonation modes failed")))
}

/// Whether a request asks to go on as somebody else.
pub fn impersonates(headers: &HeaderMap) -> bool {
    headers.keys().any(|k| k.as_str().starts_with("impersonate-"))
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
            // As with any header that stands once, the first counts.
            "impersonate-user" if wanted.name.is_empty() => wanted.name = text,
            "impersonate-uid" if wanted.uid.is_empty() => wanted.uid = text,
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
    match wanted.name.is_empty() {
        false => Ok(Some(wanted)),
        true if wanted.only_name() => Ok(None),
        true => Err(ApiError::bad_request(format!("requested {} without impersonating a user name", shown(&wanted)))),
    }
}

/// A user without a name, as Go shows it.
fn shown(user: &Wanted) -> String {
    let quoted = |list: &[String]| list.iter().map(|t| format!("{t:?}")).collect::<Vec<_>>().join(", ");
    let groups = match user.groups.as_slice() {
        [] => "[]string(nil)".to_owned(),
        groups => format!("[]string{{{}}}", quoted(groups)),
    };
    let pairs: Vec<String> = user.extra.iter().map(|(k, v)| format!("{k:?}:[]string{{{}}}", quoted(v))).collect();
    let extra = match pairs.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => format!("map[string][]string{{{}}}", pairs.join(", ")),
    };
    format!("&user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{groups}, Extra:{extra}}}", user.uid)
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
    fn nobody_is_nameless() {
        assert!(wanted(&headers(&[("impersonate-group", "system:masters")])).is_err());
        assert!(wanted(&headers(&[("impersonate-extra-a", "b")])).is_err());
        assert_eq!(wanted(&HeaderMap::new()).unwrap(), None);
        let both = wanted(&headers(&[("impersonate-user", "a"), ("impersonate-user", "b")])).unwrap().unwrap();
        assert_eq!(both.name, "a");
        let extra = headers(&[("impersonate-user", "jane"), ("impersonate-extra-acme.com%2fproject", "x")]);
        assert_eq!(wanted(&extra).unwrap().unwrap().extra["acme.com/project"], ["x"]);
    }
}
