//! The string functions; positions count characters.

use super::Func;
use super::format::format_text;
use crate::error::Error;
use crate::value::Val;

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "contains" => |a| two(a, |t, x| t.contains(x)),
        "startsWith" => |a| two(a, |t, x| t.starts_with(x)),
        "endsWith" => |a| two(a, |t, x| t.ends_with(x)),
        "lowerAscii" => |a| one(a).map(|t| Val::text(t.to_ascii_lowercase())),
        "upperAscii" => |a| one(a).map(|t| Val::text(t.to_ascii_uppercase())),
        "trim" => |a| one(a).map(|t| Val::text(t.trim())),
        "charAt" => char_at,
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "format" => format_text,
        "strings.quote" => |a| one(a).map(|t| Val::text(quote(t))),
        _ => return None,
    })
}

/// Bytes of the longest text that is made: going through a longer one costs more than any call may.
const LONGEST: usize = 10 << 20;

/// Refuses to make a text of so many bytes if that is too long.
pub(super) fn bounded(length: usize) -> Result<(), Error> {
    if length > LONGEST { Err(Error::Cost) } else { Ok(()) }
}

pub(super) fn one<'v>(args: &'v [Val<'_>]) -> Result<&'v str, Error> {
    match args.first() {
        Some(Val::Text(text)) => Ok(text),
        _ => Err(Error::overload()),
    }
}

fn two<'a>(args: &[Val<'a>], holds: fn(&str, &str) -> bool) -> Result<Val<'a>, Error> {
    match args {
        [Val::Text(text), Val::Text(x)] => Ok(Val::Bool(holds(text, x))),
        _ => Err(Error::overload()),
    }
}

fn out_of_range(index: i64) -> Error {
    Error::new(format!("index out of range: {index}"))
}

fn char_at<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let [Val::Text(text), Val::Int(at)] = args else { return Err(Error::overload()) };
    let index = usize::try_from(*at).map_err(|_| out_of_range(*at))?;
    match text.chars().nth(index) {
        Some(c) => Ok(Val::text(c.to_string())),
        None if text.chars().count() == index => Ok(Val::text("")),
        None => Err(out_of_range(*at)),
    }
}

/// The first place of a text, searched from `from` on.
pub(super) fn index_of<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (text, wanted, from) = match args {
        [Val::Text(text), Val::Text(wanted)] => (text, wanted, 0),
        [Val::Text(text), Val::Text(wanted), Val::Int(from)] => (text, wanted, *from),
        _ => return Err(Error::overload()),
    };
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let start = usize::try_from(from).ok().filter(|s| *s <= chars.len()).ok_or_else(|| out_of_range(from))?;
    let offset = chars.get(start).map_or(text.len(), |(o, _)| *o);
    let found = text[offset..].find(&**wanted);
    Ok(Val::Int(found.map_or(-1, |f| start as i64 + text[offset..offset + f].chars().count() as i64)))
}

/// The last place of a text that begins at `until` or before.
pub(super) fn last_index_of<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (text, wanted, until) = match args {
        [Val::Text(text), Val::Text(wanted)] => (text, wanted, None),
        [Val::Text(text), Val::Text(wanted), Val::Int(until)] => (text, wanted, Some(*until)),
        _ => return Err(Error::overload()),
    };
    let count = text.chars().count();
    if wanted.is_empty() {
        return Ok(Val::Int(until.unwrap_or(count as i64)));
    }
    let mut end = text.len();
    if let Some(until) = until {
        let until_index = usize::try_from(until).ok().filter(|u| *u < count).ok_or_else(|| out_of_range(until))?;
        let start = text.char_indices().nth(until_index).map_or(text.len(), |(o, _)| o);
        end = (start + wanted.len()).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
    }
    Ok(Val::Int(text[..end].rfind(&**wanted).map_or(-1, |f| text[..f].chars().count() as i64)))
}

fn replace<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match args {
        [Val::Text(text), Val::Text(from), Val::Text(to)] => {
            bounded(text.len().saturating_add(text.matches(&**from).count().saturating_mul(to.len())))?;
            Ok(Val::text(text.replace(&**from, to)))
        }
        [Val::Text(text), Val::Text(from), Val::Text(to), Val::Int(count)] => {
            let all = text.chars().count() + 1;
            let count = usize::try_from(*count).unwrap_or(all).min(all);
            bounded(text.len().saturating_add(text.matches(&**from).take(count).count().saturating_mul(to.len())))?;
            Ok(Val::text(text.replacen(&**from, to, count)))
        }
        _ => Err(Error::overload()),
    }
}

fn split<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (text, separator, limit) = match args {
        [Val::Text(text), Val::Text(separator)] => (text, separator, -1),
        [Val::Text(text), Val::Text(separator), Val::Int(limit)] => (text, separator, *limit),
        _ => return Err(Error::overload()),
    };
    let limit = usize::try_from(limit).ok();
    let parts: Vec<String> = match (separator.is_empty(), limit) {
        (_, Some(0)) => Vec::new(),
        (true, limit) => {
            let chars: Vec<char> = text.chars().collect();
            let single = limit.map_or(chars.len(), |l| (l - 1).min(chars.len()));
            let mut out: Vec<String> = chars[..single].iter().map(char::to_string).collect();
            if single < chars.len() {
                out.push(chars[single..].iter().collect());
            }
            out
        }
        (false, Some(limit)) => text.splitn(limit, &**separator).map(str::to_owned).collect(),
        (false, None) => text.split(&**separator).map(str::to_owned).collect(),
    };
    Ok(Val::list(parts.into_iter().map(Val::text).collect()))
}

fn substring<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (text, start, end) = match args {
        [Val::Text(text), Val::Int(start)] => (text, *start, None),
        [Val::Text(text), Val::Int(start), Val::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(Error::overload()),
    };
    let count = text.chars().count() as i64;
    let end = end.unwrap_or(count);
    if start < 0 || start > count {
        return Err(out_of_range(start));
    }
    if end < 0 || end > count {
        return Err(out_of_range(end));
    }
    if start > end {
        return Err(Error::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    Ok(Val::text(text.chars().skip(start as usize).take((end - start) as usize).collect::<String>()))
}

fn join<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let separator = match args.get(1) {
        Some(Val::Text(separator)) => &**separator,
        Some(_) => return Err(Error::overload()),
        None => "",
    };
    let mut out = String::new();
    for (n, item) in args[0].items().ok_or_else(Error::overload)?.iter().enumerate() {
        let Val::Text(text) = item else {
            return Err(Error::new(format!("join: invalid input: {}", item.show())));
        };
        bounded(out.len() + separator.len() + text.len())?;
        if n > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
    }
    Ok(Val::text(out))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
