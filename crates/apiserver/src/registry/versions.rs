//! What lists and watches may ask of versions, with stock's rules and words.

use crate::request::Query;
use ironclad_api::{ApiError, ErrorList, FieldError, Path, Reason};
use ironclad_json::json;
use ironclad_store::Revision;

const MATCH: &str = "resourceVersionMatch";
const INITIAL: &str = "sendInitialEvents";
const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";

/// The version that a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The newest.
    Newest,
    NotOlder(Revision),
    Exact(Revision),
}

fn forbidden(field: &str, why: &str) -> FieldError {
    FieldError::forbidden(&Path::new(field), why)
}

fn unsupported(given: &str, supported: &[&str]) -> FieldError {
    FieldError::not_supported(&Path::new(MATCH), &json!(given), supported)
}

fn checked(errors: ErrorList) -> Result<(), ApiError> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors)),
    }
}

/// A version; what is none stock refuses in one way for lists and in another for what its caches answer.
fn parse(version: &str) -> Result<Revision, String> {
    let why = || format!("Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax");
    version.parse().map_err(|_| format!("resourceVersion: {}", why()))
}

fn listed(version: &str) -> Result<Revision, ApiError> {
    parse(version).map_err(|why| ApiError::bad_request(format!("invalid resource version: {why}")))
}

/// The version that a read of one object asks for.
pub(super) fn of_get(query: &Query) -> Result<Revision, ApiError> {
    match query.get("resourceVersion") {
        "" => Ok(Revision(0)),
        version => parse(version).map_err(|why| ApiError::new(Reason::Unknown, why)),
    }
}

/// The version that a list asks for.
pub(super) fn of_list(query: &Query) -> Result<Version, ApiError> {
    let (version, how, token) = (query.get("resourceVersion"), query.get(MATCH), query.get("continue"));
    let mut errors = ErrorList::new();
    if !how.is_empty() {
        if version.is_empty() {
            errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !token.is_empty() {
            errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(how, EXACT | NOT_OLDER) {
            errors.push(unsupported(how, &[EXACT, NOT_OLDER, ""]));
        }
        if how == EXACT && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(forbidden(MATCH, why));
        }
    }
    if query.has(INITIAL) {
        errors.push(forbidden(INITIAL, "sendInitialEvents is forbidden for list"));
    }
    checked(errors)?;
    if !token.is_empty() {
        return match version {
            "" | "0" => Ok(Version::Newest),
            _ => Err(ApiError::bad_request("specifying resource version is not allowed when using continue")),
        };
    }
    match version {
        "" => Ok(Version::Newest),
        _ if how == EXACT => Ok(Version::Exact(listed(version)?)),
        // A page of what is said to be old enough is a page of exactly that.
        _ if how.is_empty() && version != "0" && query.number("limit").unwrap_or(0) > 0 => {
            Ok(Version::Exact(listed(version)?))
        }
        _ => Ok(Version::NotOlder(listed(version)?)),
    }
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With what is there, as it is at this version or newer; `true` says where that ends.
    With(Version, bool),
    /// With what comes from now on.
    Now,
    /// Behind a version.
    Behind(Revision),
}

/// Refuses a watch that is to begin with what is there where the feature is off.
pub(crate) fn no_initial_events() -> ApiError {
    let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
    ApiError::invalid("meta.k8s.io", "ListOptions", "", &[forbidden(INITIAL, why)])
}

/// Reads a query as that of a list and of a watch.
pub(crate) fn check(query: &Query) {
    drop(of_list(query));
    drop(of_watch(query, true));
}

/// Where a watch begins.
///
/// `marks` says whether a watch is told where what is there already ends although it did not ask for it.
pub(super) fn of_watch(query: &Query, marks: bool) -> Result<Begin, ApiError> {
    let (version, how) = (query.get("resourceVersion"), query.get(MATCH));
    let asked = query.has(INITIAL);
    let mut errors = ErrorList::new();
    if asked && how != NOT_OLDER {
        errors.push(forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    if !how.is_empty() {
        if !asked {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(forbidden(MATCH, why));
        }
        if how != NOT_OLDER {
            errors.push(unsupported(how, &[NOT_OLDER]));
        }
    }
    if !query.get("continue").is_empty() {
        errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
    }
    checked(errors)?;
    let revision = if version.is_empty() { None } else { Some(of_get(query)?) };
    let from = revision.map_or(Version::Newest, Version::NotOlder);
    Ok(match (asked, query.flag(INITIAL), revision) {
        (true, true, _) => Begin::With(from, true),
        (true, false, None | Some(Revision(0))) => Begin::Now,
        (false, _, None | Some(Revision(0))) => Begin::With(from, marks),
        (_, _, Some(revision)) => Begin::Behind(revision),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_begin_where_stock_says() {
        let table = [
            ("", Ok(Version::Newest)),
            ("resourceVersion=0", Ok(Version::NotOlder(Revision(0)))),
            ("resourceVersion=7", Ok(Version::NotOlder(Revision(7)))),
            ("resourceVersion=7&resourceVersionMatch=Exact", Ok(Version::Exact(Revision(7)))),
            ("continue=x&resourceVersion=0", Ok(Version::Newest)),
            ("limit=1&resourceVersion=7", Ok(Version::Exact(Revision(7)))),
            ("limit=1&resourceVersion=0", Ok(Version::NotOlder(Revision(0)))),
            ("continue=x&resourceVersion=7", Err("specifying resource version is not allowed when using continue")),
            ("resourceVersionMatch=Exact", Err("resourceVersionMatch is forbidden unless resourceVersion is provided")),
            ("resourceVersion=0&resourceVersionMatch=Exact", Err("\"exact\" is forbidden for resourceVersion \"0\"")),
            ("resourceVersion=7&resourceVersionMatch=x", Err("Unsupported value: \"x\"")),
            ("sendInitialEvents=true", Err("sendInitialEvents is forbidden for list")),
            ("resourceVersion=x", Err("invalid syntax")),
        ];
        for (query, want) in table {
            match (of_list(&Query::parse(query)), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{query}"),
                (Err(error), Err(why)) => assert!(error.message.contains(why), "{query}: {}", error.message),
                (got, _) => panic!("{query}: {got:?}"),
            }
        }
    }

    #[test]
    fn watches_begin_where_stock_says() {
        let not_older = "resourceVersionMatch=NotOlderThan";
        let table = [
            (String::new(), Ok(Begin::With(Version::Newest, false))),
            ("resourceVersion=0".into(), Ok(Begin::With(Version::NotOlder(Revision(0)), false))),
            ("resourceVersion=7".into(), Ok(Begin::Behind(Revision(7)))),
            (format!("sendInitialEvents=true&{not_older}"), Ok(Begin::With(Version::Newest, true))),
            (format!("sendInitialEvents=false&{not_older}"), Ok(Begin::Now)),
            (format!("sendInitialEvents=false&resourceVersion=7&{not_older}"), Ok(Begin::Behind(Revision(7)))),
            ("sendInitialEvents=true".into(), Err("requires setting resourceVersionMatch to NotOlderThan")),
            (not_older.into(), Err("forbidden for watch unless sendInitialEvents is provided")),
            ("sendInitialEvents=true&resourceVersionMatch=Exact".into(), Err("Unsupported value: \"Exact\"")),
        ];
        for (query, want) in table {
            match (of_watch(&Query::parse(&query), false), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{query}"),
                (Err(error), Err(why)) => assert!(error.message.contains(why), "{query}: {}", error.message),
                (got, _) => panic!("{query}: {got:?}"),
            }
        }
    }
}
