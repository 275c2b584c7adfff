//! Formats of texts, as the stock validator knows them.

use crate::schema::Type;
use regex::Regex;
use std::net::{IpAddr, Ipv6Addr};
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

fn regex(pattern: &'static str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file")
}

macro_rules! patterns {
    ($($name:ident: $pattern:expr;)*) => { $(static $name: LazyLock<Regex> = LazyLock::new(|| regex($pattern));)* };
}

patterns! {
    BSON: "^[0-9a-fA-F]{24}$";
    EMAIL: r#"^(?:[^<>@\s]+|"[^"]+")@[^<>@\s]+$|^[^<>]*<[^<>@\s]+@[^<>@\s]+>$"#;
    HOST: r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    BASE64: r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
    UUID: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5: "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    CARD: r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$";
    SSN: r"^\d{3}[- ]?\d{2}[- ]?\d{4}$";
    HEX: "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB: r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";
    DURATION: r"^[-+]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$";
    SPANS: r"([0-9]+)\s*([A-Za-zµ]+)";
    TIME: r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    SHORT: "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
    LONG: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
}

/// Whether a text has a format, which [`supported`] has named.
pub fn valid(format: &str, text: &str) -> bool {
    match format {
        "bsonobjectid" => BSON.is_match(text),
        "uri" => ironclad_cel::is_url(text),
        "email" => EMAIL.is_match(text),
        "hostname" => text.len() <= 255 && HOST.is_match(text) && text.split('.').all(|part| part.len() <= 63),
        "ipv4" => text.contains('.') && address(text).is_some(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => mac(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID3.is_match(text),
        "uuid4" => UUID4.is_match(text),
        "uuid5" => UUID5.is_match(text),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => card(text),
        "ssn" => text.len() == 11 && SSN.is_match(text),
        "hexcolor" => HEX.is_match(text),
        "rgbcolor" => RGB.is_match(text),
        "byte" => BASE64.is_match(text),
        "date" => date(text),
        "datetime" => date_time(&text.to_lowercase()),
        "duration" => DURATION.is_match(text) || span(text),
        "k8sshortname" => SHORT.is_match(text),
        "k8slongname" => text.len() <= 253 && LONG.is_match(text),
        _ => true,
    }
}

/// An address, of which the parts may begin with zeros.
fn address(text: &str) -> Option<IpAddr> {
    let (head, last) = text.rfind(':').map_or(("", text), |at| text.split_at(at + 1));
    let plain = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    let text = match last.contains('.') {
        true => format!("{head}{}", last.split('.').map(plain).collect::<Vec<_>>().join(".")),
        false => text.to_owned(),
    };
    text.parse().ok()
}

fn cidr(text: &str) -> bool {
    let Some((start, length)) = text.split_once('/') else { return false };
    let number = length.bytes().all(|b| b.is_ascii_digit()).then(|| length.parse::<u32>().ok()).flatten();
    let (Some(address), Some(length)) = (address(start), number) else { return false };
    // What looks like IPv4 is one, whatever stands before it.
    length <= if matches!(address, IpAddr::V4(_)) { 32 } else { 128 }
}

/// Six, eight or twenty bytes, divided by colons or dashes, or by points after every second.
fn mac(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = |by: char, length: usize, count: &[usize]| {
        let parts: Vec<&str> = text.split(by).collect();
        count.contains(&parts.len()) && parts.iter().all(|p| hex(p, length))
    };
    parts(':', 2, &[6, 8, 20]) || parts('-', 2, &[6, 8, 20]) || parts('.', 4, &[3, 4, 10])
}

fn card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    // Every second digit from the right counts twice, with the digits of that added up.
    let twice = |d: u32| if d >= 5 { 2 * d - 9 } else { 2 * d };
    let values = digits.chars().rev().filter_map(|c| c.to_digit(10)).enumerate();
    let sum: u32 = values.map(|(i, d)| if i % 2 == 1 { twice(d) } else { d }).sum();
    CARD.is_match(&digits) && sum.is_multiple_of(10)
}

fn date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn date_time(text: &str) -> bool {
    let mut parts = text.split('t');
    let (Some(day), Some(time)) = (parts.next(), parts.next()) else { return false };
    let Some(found) = TIME.captures(time) else { return false };
    date(day) && &found[1] <= "23" && &found[2] <= "59" && &found[3] <= "59"
}

/// Numbers with units as Scala writes them, somewhere in a text.
fn span(text: &str) -> bool {
    const EXACT: [&str; 11] = ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"];
    const BEGINS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let mut known = false;
    for found in SPANS.captures_iter(text) {
        if found[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = found[2].to_lowercase();
        known |= EXACT.contains(&unit.as_str()) || BEGINS.iter().any(|b| unit.starts_with(b));
    }
    known
}

fn digits(text: &str) -> Vec<char> {
    text.chars().filter(|c| *c != '-' && !matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')).collect()
}

fn isbn10(text: &str) -> bool {
    let digits = digits(text);
    let value = |(i, c): (usize, &char)| match c {
        'X' if i == 9 => Some(10),
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
            ("uri", "/a/path", "http://[::1"),
            ("uri", "mailto:a@example.com", ""),
            ("hostname", "a", "a..b"),
            ("hostname", "a.london", "a.1"),
            ("ipv4", "010.0.0.1", "10.0.0.256"),
            ("ipv4", "::ffff:10.0.0.1", "::1"),
            ("cidr", "10.0.00.0/08", "::/129"),
            ("mac", "0011.2233.4455", "00:11-22:33:44:55"),
            ("creditcard", "4242-4242-4242-4242", "4242424242424241"),
            ("ssn", "123-45-6789", "123456789"),
            ("byte", "aGkh", ""),
            ("date-time", "2014-12-15t19:30:20+01:00", "2014-12-15T24:30:20Z"),
            ("duration", "2 weeks", "2 parsecs"),
            ("duration", "-1.5h", "1.5"),
            ("isbn10", "0-8044-2957-X", "0-8044-2957-x"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
            ("rgbcolor", "rgb(1,2,3)", "rgb(1,2,300)"),
            ("k8s-long-name", "a.b-c", "a..b"),
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
