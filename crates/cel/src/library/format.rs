//! `string.format`, and the named formats that texts can be checked against.

use super::Func;
use super::convert::show_double;
use super::opaque::Opaque;
use super::strings::bounded;
use crate::error::Error;
use crate::value::Val;
use ironclad_api::{go_quote, names};

/// A named format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(&'static str);

macro_rules! formats {
    ($($name:literal),* $(,)?) => {
        /// The names of the formats.
        const NAMES: [&str; 13] = [$($name),*];

        /// The function without arguments that stands for a format.
        fn constant(name: &str) -> Option<Func> {
            Some(match name {
                $(concat!("format.", $name) => |_| Ok(Val::Opaque(Opaque::Format(Format($name)))),)*
                _ => return None,
            })
        }
    };
}

formats!(
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
);

pub(super) fn find(name: &str) -> Option<Func> {
    if let Some(format) = constant(name) {
        return Some(format);
    }
    Some(match name {
        "format.named" => named,
        "validate" => validate,
        _ => return None,
    })
}

fn named<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let wanted = super::strings::one(args)?;
    let found = NAMES.iter().find(|n| **n == wanted);
    Ok(found.map_or_else(Val::none, |n| Val::some(Val::Opaque(Opaque::Format(Format(n))))))
}

fn validate<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let [Val::Opaque(Opaque::Format(format)), Val::Text(text)] = args else { return Err(Error::overload()) };
    let errors = problems(format.0, text);
    if errors.is_empty() {
        return Ok(Val::none());
    }
    Ok(Val::some(Val::list(errors.into_iter().map(Val::text).collect())))
}

fn problems(format: &str, text: &str) -> Vec<String> {
    // A prefix may end with a dash, because something is added to it.
    let prefix = |text: &str| match text.strip_suffix('-') {
        Some(rest) => format!("{rest}a"),
        None => text.to_owned(),
    };
    let only_if = |good: bool, message: &str| if good { Vec::new() } else { vec![message.to_owned()] };
    match format {
        "dns1123Label" => names::dns1123_label(text),
        "dns1123Subdomain" => names::dns1123_subdomain(text),
        "dns1035Label" => names::dns1035_label(text),
        "qualifiedName" => names::qualified_name(text),
        "dns1123LabelPrefix" => names::dns1123_label(&prefix(text)),
        "dns1123SubdomainPrefix" => names::dns1123_subdomain(&prefix(text)),
        "dns1035LabelPrefix" => names::dns1035_label(&prefix(text)),
        "labelValue" => names::label_value(text),
        "uri" => match super::url::Address::parse(text) {
            Ok(_) => Vec::new(),
            Err(why) => vec![why.trim_start_matches("URL parse error during conversion from string: ").to_owned()],
        },
        "uuid" => only_if(is_uuid(text), "does not match the UUID format"),
        "byte" => {
            use base64::Engine;
            only_if(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
        }
        "date" => only_if(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date"),
        _ => only_if(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime"),
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.len() == 5
        && groups.iter().zip([8, 4, 4, 4, 12]).all(|(g, n)| g.len() == n && g.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `text.format([...])`.
pub(super) fn format_text<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let [Val::Text(text), list] = args else { return Err(Error::overload()) };
    let items = list.items().ok_or_else(Error::overload)?;
    let mut items = items.iter();
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if rest.peek() == Some(&'%') {
            rest.next();
            out.push('%');
            continue;
        }
        let precision = precision(&mut rest)?;
        let clause = rest.next().ok_or_else(|| Error::new("unexpected end of string"))?;
        let item = items
            .next()
            .ok_or_else(|| Error::new(format!("index {} out of range", list.size().unwrap_or_default())))?;
        let formatted =
            clause_text(clause, precision, item).map_err(|why| Error::new(format!("error during formatting: {why}")));
        let formatted = formatted?;
        bounded(out.len() + formatted.len())?;
        out.push_str(&formatted);
    }
    Ok(Val::text(out))
}

fn precision(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, Error> {
    if rest.peek() != Some(&'.') {
        return Ok(None);
    }
    rest.next();
    let mut digits = String::new();
    while let Some(c) = rest.peek().filter(|c| c.is_ascii_digit()) {
        digits.push(*c);
        rest.next();
    }
    // Longer output is of no use, and would make short expressions expensive.
    digits.parse().ok().filter(|n| *n <= 100).map(Some).ok_or_else(|| Error::new("invalid precision in format string"))
}

fn clause_text(clause: char, precision: Option<usize>, item: &Val<'_>) -> Result<String, String> {
    let wrong = |what: &str| format!("{what}, was given {}", item.type_name());
    match (clause, item) {
        ('s', item) => show(item),
        ('d', Val::Int(i)) => Ok(i.to_string()),
        ('d', Val::Uint(u)) => Ok(u.to_string()),
        ('d', _) => Err(wrong("decimal clause can only be used on integers")),
        ('f', Val::Double(d)) => Ok(format!("{d:.*}", precision.unwrap_or(6))),
        ('f', _) => Err(wrong("fixed-point clause can only be used on doubles")),
        ('e', Val::Double(d)) => Ok(scientific(*d, precision)),
        ('e', _) => Err(wrong("scientific clause can only be used on doubles")),
        ('b', Val::Int(i)) => Ok(if *i < 0 { format!("-{:b}", i.unsigned_abs()) } else { format!("{i:b}") }),
        ('b', Val::Uint(u)) => Ok(format!("{u:b}")),
        ('b', Val::Bool(b)) => Ok(u8::from(*b).to_string()),
        ('b', _) => Err(wrong("only integers and bools can be formatted as binary")),
        ('o', Val::Int(i)) => Ok(if *i < 0 { format!("-{:o}", i.unsigned_abs()) } else { format!("{i:o}") }),
        ('o', Val::Uint(u)) => Ok(format!("{u:o}")),
        ('o', _) => Err(wrong("octal clause can only be used on integers")),
        ('x' | 'X', item) => {
            let text = hexadecimal(item)
                .ok_or_else(|| wrong("only integers, byte buffers, and strings can be formatted as hex"))?;
            Ok(if clause == 'X' { text.to_uppercase() } else { text })
        }
        (other, _) => Err(format!("unrecognized formatting clause \"{other}\"")),
    }
}

fn hexadecimal(item: &Val<'_>) -> Option<String> {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    let bytes = |b: &[u8]| b.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect();
    Some(match item {
        Val::Int(i) if *i < 0 => format!("-{:x}", i.unsigned_abs()),
        Val::Int(i) => format!("{i:x}"),
        Val::Uint(u) => format!("{u:x}"),
        Val::Text(t) => bytes(t.as_bytes()),
        Val::Bytes(b) => bytes(b),
        _ => return None,
    })
}

fn scientific(d: f64, precision: Option<usize>) -> String {
    let text = format!("{d:.*e}", precision.unwrap_or(6));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// A value as `%s` shows it.
fn show(item: &Val<'_>) -> Result<String, String> {
    Ok(match item {
        Val::Text(t) => t.to_string(),
        Val::Null => "null".into(),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Uint(u) => u.to_string(),
        Val::Double(d) => show_double(*d),
        Val::Bytes(b) => {
            String::from_utf8(b.to_vec()).map_err(|_| "could not convert argument to string".to_owned())?
        }
        Val::Timestamp(t) => t.to_string(),
        Val::Duration(d) => super::time::show_duration(*d),
        Val::Type(t) => t.name(),
        other => match (other.items(), other.entries()) {
            (Some(items), _) => {
                let parts: Result<Vec<String>, String> = items.iter().map(inside).collect();
                format!("[{}]", parts?.join(", "))
            }
            (_, Some(entries)) => {
                let pair = |(k, v): &(Val<'_>, Val<'_>)| Ok(format!("{}:{}", key(k)?, inside(v)?));
                let mut parts = entries.iter().map(pair).collect::<Result<Vec<String>, String>>()?;
                parts.sort();
                format!("{{{}}}", parts.join(", "))
            }
            _ => {
                let wanted = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
                return Err(format!("string clause can only be used on {wanted}, was given {}", other.type_name()));
            }
        },
    })
}

/// A value within a list or a map, as an expression would write it.
fn inside(item: &Val<'_>) -> Result<String, String> {
    Ok(match item {
        Val::Text(t) => go_quote(t),
        Val::Bytes(_) => format!("b{}", go_quote(&show(item)?)),
        Val::Double(d) if d.is_finite() => format!("{d:.6}"),
        Val::Double(_) => go_quote(&show(item)?),
        Val::Timestamp(_) => format!("timestamp({})", go_quote(&show(item)?)),
        Val::Duration(_) => format!("duration({})", go_quote(&show(item)?)),
        Val::Opaque(_) | Val::Optional(_) => return Err(format!("no formatting function for {}", item.type_name())),
        other => show(other)?,
    })
}

fn key(key: &Val<'_>) -> Result<String, String> {
    match key {
        Val::Text(_) | Val::Bool(_) | Val::Int(_) | Val::Uint(_) => inside(key),
        other => Err(format!("no formatting function for map key of type {}", other.type_name())),
    }
}
