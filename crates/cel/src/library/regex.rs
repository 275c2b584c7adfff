//! Regular expressions, in the syntax of RE2 and with its linear time.

use super::Func;
use crate::error::Error;
use crate::value::Val;
use regex::{Regex, RegexBuilder};
use regex_syntax::ast::{ErrorKind as AstError, Span};
use std::collections::HashMap;
use std::sync::{LazyLock, RwLock};

/// Largest compiled expression.
const MAX_BYTES: usize = 1 << 20;
/// How many compiled expressions are kept.
const KEPT: usize = 512;

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "matches" => |a| parts(a).and_then(|(t, r)| Ok(Val::Bool(compile(r)?.is_match(t)))),
        "find" => |a| parts(a).and_then(|(t, r)| Ok(Val::text(compile(r)?.find(t).map_or("", |m| m.as_str())))),
        "findAll" => find_all,
        _ => return None,
    })
}

fn parts<'v>(args: &'v [Val<'_>]) -> Result<(&'v str, &'v str), Error> {
    match args {
        [Val::Text(text), Val::Text(pattern), ..] => Ok((text, pattern)),
        _ => Err(Error::overload()),
    }
}

fn find_all<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (text, pattern) = parts(args)?;
    let limit = match args.get(2) {
        Some(Val::Int(n)) => usize::try_from(*n).unwrap_or(usize::MAX),
        Some(_) => return Err(Error::overload()),
        None => usize::MAX,
    };
    let regex = compile(pattern)?;
    Ok(Val::list(regex.find_iter(text).take(limit).map(|m| Val::text(m.as_str())).collect()))
}

/// Whether a pattern is a regular expression.
pub(crate) fn is_valid(pattern: &str) -> bool {
    compile(pattern).is_ok()
}

fn compile(pattern: &str) -> Result<Regex, Error> {
    static CACHE: LazyLock<RwLock<HashMap<String, Regex>>> = LazyLock::new(RwLock::default);
    if let Some(found) = CACHE.read().ok().and_then(|c| c.get(pattern).cloned()) {
        return Ok(found);
    }
    let regex = build(pattern).map_err(Error::new)?;
    if let Ok(mut cache) = CACHE.write() {
        if cache.len() >= KEPT {
            cache.clear();
        }
        cache.insert(pattern.to_owned(), regex.clone());
    }
    Ok(regex)
}

/// A pattern in the syntax of RE2, or why it is none, in RE2's words.
pub fn build(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern);
    let built = RegexBuilder::new(&translated).size_limit(MAX_BYTES).dfa_size_limit(MAX_BYTES).nest_limit(100).build();
    built.map_err(|e| {
        let parsed = regex_syntax::ast::parse::Parser::new().parse(&translated);
        let (what, at) = parsed.err().map_or_else(
            || match &e {
                regex::Error::CompiledTooBig(_) => ("expression too large", ""),
                _ => ("invalid character class range", &*translated),
            },
            |e| mistake(e.kind(), e.span(), &translated),
        );
        format!("error parsing regexp: {what}: `{at}`")
    })
}

/// What RE2 says of a mistake, and of which part of the pattern.
fn mistake<'a>(kind: &AstError, span: &Span, pattern: &'a str) -> (&'static str, &'a str) {
    let (start, end) = (span.start.offset, span.end.offset);
    let (rest, part) = (pattern.get(start..).unwrap_or_default(), pattern.get(start..end).unwrap_or_default());
    match kind {
        AstError::RepetitionMissing => ("missing argument to repetition operator", &rest[..rest.len().min(1)]),
        AstError::GroupUnclosed => ("missing closing )", pattern),
        AstError::GroupUnopened => ("unexpected )", pattern),
        AstError::ClassUnclosed => ("missing closing ]", rest),
        AstError::ClassRangeInvalid | AstError::ClassRangeLiteral => ("invalid character class range", part),
        AstError::EscapeUnexpectedEof => ("trailing backslash at end of expression", ""),
        AstError::RepetitionCountInvalid => ("invalid repeat count", part),
        AstError::UnsupportedLookAround => ("invalid or unsupported Perl syntax", part),
        AstError::FlagUnrecognized | AstError::GroupNameInvalid => ("invalid or unsupported Perl syntax", rest),
        AstError::GroupNameDuplicate { .. } => ("duplicate capture group name", part),
        AstError::NestLimitExceeded(_) => ("expression nests too deeply", pattern),
        _ => ("invalid escape sequence", part),
    }
}

/// RE2's syntax in that of the crate: classes such as `\d` are ASCII, a bracket in a class is itself, `\Q...\E` quotes.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(r"[\t\n\f\r ]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') if !class => out.push_str(r"(?-u:\b)"),
                Some('B') if !class => out.push_str(r"(?-u:\B)"),
                Some('Q') if !class => quoted(&mut chars, &mut out),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' if !class => {
                class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                // A bracket that closes at once is itself.
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str("\\]");
                }
            }
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str("\\["),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'E') {
            chars.next();
            return;
        }
        out.push_str(&regex::escape(&c.to_string()));
    }
}
