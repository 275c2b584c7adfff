//! In which versions the servers of a cluster store a resource.

use crate::common::checks::rule;
use crate::print;
use crate::read::{items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const VERSION: &str = "an apiVersion is a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')";

pub(crate) const STORAGE_VERSION: Rules = Rules::new()
    .named(named)
    .checks(status)
    .checks_update(|_, _| ErrorList::new())
    .checks_status(|new, _| status(new))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("CommonEncodingVersion", "The version that all servers store."),
                Column::text("StorageVersions", "The version that each server stores."),
                Column::age(),
            ]
        },
        |o| {
            let common = text(o, &["status", "commonEncodingVersion"]);
            let servers = items(o, &["status", "storageVersions"]).iter();
            let shown = servers.map(|s| format!("{}={}", text(s, &["apiServerID"]), text(s, &["encodingVersion"])));
            let shown = crate::common::cells::shorten(&shown.collect::<Vec<_>>(), "<unset>");
            let common = if common.is_empty() { "<unset>" } else { common };
            vec![print::name(o), json!(common), shown, table::age(o)]
        },
    );

/// `<group>.<resource>`.
fn named(name: &str) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let prefixed = |found: Vec<String>, part: &str| {
        found.into_iter().map(|why| format!("the {part} segment {why}")).collect::<Vec<_>>()
    };
    let mut found = prefixed(names::dns1123_subdomain(group), "group");
    found.extend(prefixed(names::dns1035_label(resource), "resource"));
    found
}

fn status(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (at, servers) = (Path::new("status"), items(o, &["status", "storageVersions"]));
    for (i, server) in servers.iter().enumerate() {
        let (at, id) = (at.child("storageVersions").index(i), text(server, &["apiServerID"]));
        if servers[..i].iter().any(|before| text(before, &["apiServerID"]) == id) {
            errors.push(FieldError::duplicate(&at.child("apiServerID"), &json!(id)));
        }
        rule(names::dns1123_subdomain(id), id, &at.child("apiServerID"), &mut errors);
        versions(server, &at, &mut errors);
    }
    errors.extend(common(o, servers, &at.child("commonEncodingVersion")));
    let conditions = items(o, &["status", "conditions"]);
    for (i, condition) in conditions.iter().enumerate() {
        // Stock leaves out the name of the list.
        let (at, of) = (at.index(i), |key: &str| text(condition, &[key]));
        let same = |before: &Value| text(before, &["type"]) == of("type");
        if let Some(before) = conditions[..i].iter().rposition(same) {
            let why = format!("the type of the condition is not unique, it also appears in conditions[{before}]");
            errors.push(FieldError::invalid_str(&at.child("type"), of("type"), why));
        }
        for key in ["type", "status"] {
            rule(names::qualified_name(of(key)), of(key), &at.child(key), &mut errors);
        }
        crate::common::checks::required(condition, &at, &["reason", "message"], &mut errors);
    }
    errors
}

/// What a server writes it can read, and so it can what it serves.
fn versions(server: &Value, at: &Path, errors: &mut ErrorList) {
    let mut check = |given: &str, at: &Path| {
        let wrong = version(given);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid_str(at, given, wrong.join(",")));
        }
    };
    let (written, readable) = (text(server, &["encodingVersion"]), items(server, &["decodableVersions"]));
    let readable_at = at.child("decodableVersions");
    check(written, &at.child("encodingVersion"));
    for (i, one) in readable.iter().enumerate() {
        check(one.as_str().unwrap_or_default(), &readable_at.index(i));
    }
    let read: Vec<&str> = readable.iter().filter_map(Value::as_str).collect();
    if !read.contains(&written) {
        let why = format!("decodableVersions must include encodingVersion {written}");
        errors.push(FieldError::invalid(&readable_at, &server["decodableVersions"], why));
    }
    for (i, one) in items(server, &["servedVersions"]).iter().enumerate() {
        let (one, at) = (one.as_str().unwrap_or_default(), at.child("servedVersions").index(i));
        let wrong = version(one);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid_str(&at, one, wrong.join(",")));
        }
        if !read.contains(&one) {
            let list = read.join(" ");
            let why = format!("individual served version : {one} must be included in decodableVersions : [{list}]");
            errors.push(FieldError::invalid_str(&at, one, why));
        }
    }
}

/// The version that all servers write is told, where there is one.
fn common(o: &Value, servers: &[Value], at: &Path) -> Option<FieldError> {
    let mut written = servers.iter().map(|s| text(s, &["encodingVersion"]));
    let first = written.next();
    let actual = first.filter(|first| written.all(|other| other == *first));
    match (actual, o["status"]["commonEncodingVersion"].as_str()) {
        (None, Some(told)) => {
            let why = "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet";
            Some(FieldError::invalid_str(at, told, why))
        }
        (Some(actual), None) => {
            Some(FieldError::invalid(at, &Value::Null, format!("the common encoding version is {actual}")))
        }
        (Some(actual), Some(told)) if actual != told => {
            Some(FieldError::invalid_str(at, told, format!("the actual common encoding version is {actual}")))
        }
        _ => None,
    }
}

/// What is wrong with a version, which may stand behind its group.
fn version(given: &str) -> Vec<String> {
    let named = |given: &str, name: &str, check: fn(&str) -> Vec<String>| match given {
        "" => vec![format!("{name} part: must be non-empty")],
        given => check(given).into_iter().map(|why| format!("{name} part: {why}")).collect(),
    };
    match given.split('/').collect::<Vec<_>>()[..] {
        [version] => named(version, "version", names::dns1035_label),
        [group, version] => {
            let mut found = named(group, "group", names::dns1123_subdomain);
            found.extend(named(version, "version", names::dns1035_label));
            found
        }
        _ => vec![VERSION.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    #[test]
    fn servers_agree_on_what_they_can_read() {
        let server = |id: &str, version: &str, served: &str| json!({"apiServerID": id, "encodingVersion": version, "decodableVersions": [version], "servedVersions": [served]});
        let says = |servers: Value, common: Value| {
            let o = json!({"status": {"storageVersions": servers, "commonEncodingVersion": common}});
            STORAGE_VERSION.validate(&o).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let one = server("a", "apps/v1", "apps/v1");
        assert!(says(json!([one]), json!("apps/v1")).is_empty());
        let at = "status.commonEncodingVersion: Invalid value";
        assert_eq!(says(json!([one]), Value::Null), [format!("{at}: null: the common encoding version is apps/v1")]);
        let found = says(json!([one, server("b", "v2", "v3")]), json!("v2"));
        let served = "individual served version : v3 must be included in decodableVersions : [v2]";
        assert_eq!(found[0], format!("status.storageVersions[1].servedVersions[0]: Invalid value: \"v3\": {served}"));
        assert!(found[1].starts_with(&format!("{at}: \"v2\": should be nil")), "{found:?}");
        assert_eq!(version("/v1"), ["group part: must be non-empty"]);
        assert_eq!(STORAGE_VERSION.validate_name("pods"), ["name must be in the form of <group>.<resource>"]);
    }
}
