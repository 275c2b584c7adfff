//! Forms of texts that declared rules ask for, in their words.

use crate::common::checks::rule;
use ironclad_api::{ErrorList, FieldError, Path, names};

/// Adds what is wrong with a text.
pub(crate) type Format = fn(&str, &Path, &mut ErrorList);

const POOL_MAX: usize = 253;
const ID_MAX: usize = 32;
const DOMAIN_MAX: usize = 63;
const IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const CASELESS: &str = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'Example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// A label of a DNS name.
pub(crate) fn short_name(given: &str, at: &Path, errors: &mut ErrorList) {
    rule(names::dns1123_label(given), given, at, errors);
}

/// A DNS name.
pub(crate) fn long_name(given: &str, at: &Path, errors: &mut ErrorList) {
    rule(names::dns1123_subdomain(given), given, at, errors);
}

/// A DNS name with letters of any case.
pub(crate) fn long_name_caseless(given: &str, at: &Path, errors: &mut ErrorList) {
    let wrong = names::dns1123_subdomain(&given.to_ascii_lowercase()).into_iter();
    rule(
        wrong.map(|why| if why.contains("RFC 1123") { CASELESS.to_owned() } else { why }).collect(),
        given,
        at,
        errors,
    );
}

/// The key of a label.
pub(crate) fn label_key(given: &str, at: &Path, errors: &mut ErrorList) {
    rule(names::qualified_name(given), given, at, errors);
}

/// A name that can stand in a path.
pub(crate) fn path_segment(given: &str, at: &Path, errors: &mut ErrorList) {
    rule(names::path_segment(given), given, at, errors);
}

/// A UUID.
pub(crate) fn uuid(given: &str, at: &Path, errors: &mut ErrorList) {
    let fits = |(i, b): (usize, u8)| match i {
        8 | 13 | 18 | 23 => b == b'-',
        _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
    };
    if given.len() != 36 || !given.bytes().enumerate().all(fits) {
        errors.push(FieldError::invalid_str(at, given, "must be a lowercase UUID in 8-4-4-4-12 format"));
    }
}

/// The name of a pool of devices: DNS names with slashes between.
pub(crate) fn pool(given: &str, at: &Path, errors: &mut ErrorList) {
    if given.len() > POOL_MAX {
        errors.push(FieldError::too_long(at, POOL_MAX));
    }
    for (i, part) in given.split('/').enumerate() {
        if part.is_empty() {
            errors.push(FieldError::invalid_str(at, given, format!("segment {i}: must not be empty")));
        } else {
            let wrong = names::dns1123_subdomain(part).into_iter().map(|why| format!("segment {i}: {why}"));
            rule(wrong.collect(), part, at, errors);
        }
    }
}

/// The name of an extended resource.
pub(crate) fn extended_resource(given: &str, at: &Path, errors: &mut ErrorList) {
    let mut wrong = Vec::new();
    if !given.contains('/') {
        wrong.push("a name must be a domain-prefixed path, such as 'example.com/my-prop'".to_owned());
    } else if given.contains("kubernetes.io/") {
        wrong.push("must not have \"kubernetes.io/\" domain".to_owned());
    }
    if given.starts_with("requests.") {
        wrong.push("must not have \"requests.\" prefix".to_owned());
    }
    wrong.extend(names::qualified_name(&format!("requests.{given}")));
    rule(wrong, given, at, errors);
}

/// An identifier as C has it.
pub(crate) fn identifier(given: &str, at: &Path, errors: &mut ErrorList) {
    if given.len() > ID_MAX {
        errors.push(FieldError::too_long(at, ID_MAX));
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !given.starts_with(|c: char| word(c) && !c.is_ascii_digit()) || !given.chars().all(word) {
        errors.push(FieldError::invalid_str(at, given, IDENTIFIER));
    }
}

/// The name of an attribute of a device with its domain.
pub(crate) fn attribute(given: &str, at: &Path, errors: &mut ErrorList) {
    match given.split('/').collect::<Vec<_>>()[..] {
        [id] => {
            identifier(id, at, errors);
            let why = "a fully qualified name must be a domain and a name separated by a slash";
            errors.push(FieldError::invalid_str(at, given, why));
        }
        [domain, id] => {
            if domain.is_empty() {
                errors.push(FieldError::invalid_str(at, "", "prefix must not be empty"));
            } else {
                if domain.len() > DOMAIN_MAX {
                    errors.push(FieldError::too_long(at, DOMAIN_MAX));
                }
                let wrong = names::dns1123_subdomain(domain).into_iter().map(|why| format!("prefix: {why}"));
                rule(wrong.collect(), domain, at, errors);
            }
            match id.is_empty() {
                true => errors.push(FieldError::invalid_str(at, "", "name must not be empty")),
                false => identifier(id, at, errors),
            }
        }
        _ => {}
    }
}
