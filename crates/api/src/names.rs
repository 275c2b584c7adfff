//! Names, labels and the other short texts of the API: which are valid, and what stock says when they are not.
//!
//! Each function returns the messages of `k8s.io/apimachinery/pkg/util/validation`; an empty list means valid.

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const QUALIFIED: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_1123_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_1123_RE: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035_RE: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_RE: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE_RE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// As [`too_long`], in the words of the rules for labels.
fn too_many_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// A message with examples and the expression, as stock writes it.
fn explain(message: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{regex}')");
    }
    let list: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    let list = list.join(" or ");
    format!("{message} (e.g. {list}regex used for validation is '{regex}')")
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn label_shape(text: &str) -> bool {
    let b = text.as_bytes();
    !b.is_empty() && lower(b[0]) && lower(b[b.len() - 1]) && b.iter().all(|c| lower(*c) || *c == b'-')
}

fn qualified_shape(text: &str) -> bool {
    let b = text.as_bytes();
    !b.is_empty()
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
        && b.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// RFC 1123 label: names of namespaces, containers, volumes.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(too_long(LABEL_MAX));
    }
    if !label_shape(text) {
        if text.split('.').all(label_shape) && !text.is_empty() {
            errors.push("must not contain dots".to_owned());
        } else {
            errors.push(explain(LABEL_1123, LABEL_1123_RE, &["my-name", "123-abc"]));
        }
    }
    errors
}

/// RFC 1123 subdomain: names of most objects.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(too_long(SUBDOMAIN_MAX));
    }
    if !text.split('.').all(label_shape) {
        errors.push(explain(SUBDOMAIN_1123, SUBDOMAIN_1123_RE, &["example.com"]));
    }
    errors
}

/// RFC 1123 subdomain whose labels may have underscores: search paths of DNS (KEP-4427).
pub fn dns1123_subdomain_with_underscores(text: &str) -> Vec<String> {
    const WHY: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
    const RE: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
    let label = |text: &str| {
        let b = text.strip_prefix('_').unwrap_or(text).as_bytes();
        let ends = b.first().zip(b.last()).is_some_and(|(first, last)| lower(*first) && lower(*last));
        ends && b.iter().all(|c| lower(*c) || matches!(c, b'-' | b'_'))
    };
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(too_long(SUBDOMAIN_MAX));
    }
    if !text.split('.').all(label) {
        errors.push(explain(WHY, RE, &["example.com"]));
    }
    errors
}

/// RFC 1035 label: names of Services until relaxed names.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(too_long(LABEL_MAX));
    }
    if !label_shape(text) || !text.as_bytes()[0].is_ascii_lowercase() {
        errors.push(explain(LABEL_1035, LABEL_1035_RE, &["my-name", "abc-123"]));
    }
    errors
}

/// A name that may stand in a URL path: names of RBAC objects.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%'].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A path behind a domain, such as `acme.io/foo`.
pub fn domain_prefixed_path(at: &crate::Path, text: &str) -> crate::ErrorList {
    use crate::FieldError;
    if text.is_empty() {
        return vec![FieldError::required(at, "")];
    }
    let (domain, path) = text.split_once('/').unwrap_or_default();
    if domain.is_empty() || path.is_empty() {
        return vec![FieldError::invalid_str(at, text, "must be a domain-prefixed path (such as \"acme.io/foo\")")];
    }
    let wrong = dns1123_subdomain(domain).into_iter();
    let mut errors: crate::ErrorList = wrong.map(|why| FieldError::invalid_str(at, domain, why)).collect();
    if !path.chars().all(|c| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c)) {
        let why = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
        errors.push(FieldError::invalid_str(at, path, why));
    }
    errors
}

/// A qualified name: keys of labels, annotations, resources, taints.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > SUBDOMAIN_MAX {
                    errors.push(format!("prefix part {}", too_many_bytes(SUBDOMAIN_MAX)));
                }
                let shape = dns1123_subdomain(prefix).into_iter().filter(|e| e.starts_with("a lowercase"));
                errors.extend(shape.map(|e| format!("prefix part {e}")));
            }
            *name
        }
        _ => {
            let shape = explain(QUALIFIED, QUALIFIED_RE, &["MyName", "my.name", "123-abc"]);
            errors.push(format!(
                "a valid label key {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return errors;
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", too_many_bytes(LABEL_MAX)));
    }
    if !qualified_shape(name) {
        errors.push(format!("name part {}", explain(QUALIFIED, QUALIFIED_RE, &["MyName", "my.name", "123-abc"])));
    }
    errors
}

/// A label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(too_many_bytes(LABEL_MAX));
    }
    if !text.is_empty() && !qualified_shape(text) {
        errors.push(explain(LABEL_VALUE, LABEL_VALUE_RE, &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// A port's IANA service name.
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push("must be no more than 15 characters".to_owned());
    }
    if !text.bytes().all(|c| lower(c) || c == b'-') || text.is_empty() {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65_535).contains(&port) { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".to_owned()] }
}

/// Five characters for `generateName`, from the alphabet without vowels that stock uses.
pub fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| ALPHABET[fastrand::usize(..ALPHABET.len())] as char).collect()
}

/// A name from `generateName`: the base, cut to 58 bytes, and a random suffix.
pub fn generate(base: &str) -> String {
    let mut end = base.len().min(LABEL_MAX - 5);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], random_suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_is_that_of_stock() {
        assert_eq!(
            dns1123_subdomain("Web_1"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(
            dns1123_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
    }

    #[test]
    fn qualified_names_have_one_optional_prefix() {
        for good in ["app", "app.kubernetes.io/name", "a_b.c", "X"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "a b", "Exa mple/a"] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate(&"x".repeat(100));
        assert_eq!(name.len(), LABEL_MAX);
        assert!(dns1123_label(&name).is_empty());
    }
}
