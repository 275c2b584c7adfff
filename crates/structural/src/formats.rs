//! Formats of texts, as the stock validator knows them.

use crate::schema::Type;
use base64::Engine;
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

const KNOWN: &[&str] = &[
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// The name of a format without its dashes, if it says something about texts.
pub fn supported(ty: Option<Type>, format: &str) -> Option<&'static str> {
    if !matches!(ty, None | Some(Type::String)) || format.is_empty() {
        return None;
    }
    let plain = format.replace('-', "");
    KNOWN.iter().find(|k| **k == plain).copied()
}

/// Whether a format says something about values of a type.
pub fn recognized(ty: &str, format: &str) -> bool {
    match ty {
        "" | "string" => supported(None, format).is_some(),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// A format as messages name it.
pub(crate) fn shown(format: &str) -> &str {
    match format {
        "datetime" => "date-time",
        "k8sshortname" => "k8s-short-name",
        "k8slongname" => "k8s-long-name",
        other => other,
    }
}

fn regex(pattern: &'static str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file")
}

macro_rules! patterns {
    ($($name:ident: $pattern:expr;)*) => { $(static $name: LazyLock<Regex> = LazyLock::new(|| regex($pattern));)* };
}

patterns! {
    BSON: "^[0-9a-fA-F]{24}$";
    EMAIL: r#"^(?:[^<>@\s]+|"[^"]+")@[^<>@\s]+$|^[^<>]*<[^<>@\s]+@[^<>@\s]+>$"#;
    HOST: r"^([a-zA-Z0-9\p{L}]([a-zA-Z0-9\p{L}-]{0,61}[a-zA-Z0-9\p{L}])?\.)*[a-zA-Z0-9\p{L}]([a-zA-Z0-9\p{L}-]{0,61}[a-zA-Z0-9\p{L}])?\.?$";
    MAC: "^([0-9a-fA-F]{2}[:-]){5}([0-9a-fA-F]{2})$|^([0-9a-fA-F]{2}[:-]){7}([0-9a-fA-F]{2})$|^([0-9a-fA-F]{4}\\.){2}[0-9a-fA-F]{4}$";
    UUID: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    CARD: r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$";
    SSN: r"^\d{3}[- ]?\d{2}[- ]?\d{4}$";
    HEX: "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB: r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";
    DURATION: r"^[-+]?((\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanos?|nanoseconds?|micros?|microseconds?|millis?|milliseconds?|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|wks?|weeks?)\s*)+$|^0$";
    DATETIME: r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:?[0-9]{2})$";
    URI: r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:[^\s]+|/[^\s]*)$";
    SHORT: "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
    LONG: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
}

/// Whether a text has a format, which [`supported`] has named.
pub fn valid(format: &str, text: &str) -> bool {
    match format {
        "bsonobjectid" => BSON.is_match(text),
        "uri" => URI.is_match(text),
        "email" => EMAIL.is_match(text),
        "hostname" => text.len() <= 255 && HOST.is_match(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => MAC.is_match(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID3.is_match(text),
        "uuid4" => UUID4.is_match(text),
        "uuid5" => UUID5.is_match(text),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => CARD.is_match(&text.chars().filter(char::is_ascii_digit).collect::<String>()),
        "ssn" => SSN.is_match(text),
        "hexcolor" => HEX.is_match(text),
        "rgbcolor" => RGB.is_match(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => DATETIME.is_match(text) && text.get(..10).is_some_and(|d| d.parse::<jiff::civil::Date>().is_ok()),
        "duration" => DURATION.is_match(text),
        "k8sshortname" => SHORT.is_match(text),
        "k8slongname" => text.len() <= 253 && LONG.is_match(text),
        _ => true,
    }
}

fn cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(length) = length.parse::<u8>() else { return false };
    address.parse::<Ipv4Addr>().is_ok() && length <= 32 || address.parse::<Ipv6Addr>().is_ok() && length <= 128
}

fn digits(text: &str) -> Vec<char> {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).collect()
}

fn isbn10(text: &str) -> bool {
    let digits = digits(text);
    let value = |(i, c): (usize, &char)| match c {
        'X' | 'x' if i == 9 => Some(10),
        c => c.to_digit(10),
    };
    let values: Option<Vec<u32>> = digits.iter().enumerate().map(value).collect();
    values.is_some_and(|v| v.len() == 10 && v.iter().zip(1..).map(|(d, i)| d * i).sum::<u32>() % 11 == 0)
}

fn isbn13(text: &str) -> bool {
    let values: Option<Vec<u32>> = digits(text).iter().map(|c| c.to_digit(10)).collect();
    let weighted = |v: &[u32]| v.iter().zip([1, 3].iter().cycle()).map(|(d, w)| d * w).sum::<u32>();
    values.is_some_and(|v| v.len() == 13 && weighted(&v) % 10 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_right_from_wrong() {
        let table = [
            ("uri", "https://a.example/x", "not a uri"),
            ("email", "a@example.com", "a.example.com"),
            ("hostname", "a.example.com", "-a.example"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:11:22:33:44:55", "00:11:22"),
            ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "x"),
            ("isbn", "0321751043", "0321751044"),
            ("isbn", "978-0321751041", "978-0321751042"),
            ("byte", "aGk=", "%%%"),
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15 19:30"),
            ("duration", "1h30m", "soon"),
            ("k8s-short-name", "a-b", "A"),
        ];
        for (format, good, bad) in table {
            let name = supported(None, format).unwrap();
            assert!(valid(name, good), "{format} {good}");
            assert!(!valid(name, bad), "{format} {bad}");
        }
    }
}
