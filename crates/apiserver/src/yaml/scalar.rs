//! Which texts may stand plain in YAML: those that nothing would take for something else.

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// The style of a text; a key has to stay on one line.
pub(super) fn style(text: &str, key: bool) -> Style {
    let form = Form::of(text);
    let wanted = match () {
        () if text.contains('\n') => Style::Literal,
        () if is_text(text) => Style::Plain,
        () => Style::Double,
    };
    match wanted {
        Style::Plain if form.plain => Style::Plain,
        Style::Plain if form.single => Style::Single,
        Style::Literal if form.block && !key => Style::Literal,
        _ => Style::Double,
    }
}

/// What the characters of a text allow.
struct Form {
    plain: bool,
    single: bool,
    block: bool,
}

impl Form {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let blank = |c: Option<&char>| c.is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        let (mut indicators, mut special, mut breaks) =
            (text.starts_with("---") || text.starts_with("..."), false, false);
        let (mut space_break, mut break_space) = (false, false);
        for (i, c) in chars.iter().enumerate() {
            let (before, after) = (i.checked_sub(1).and_then(|p| chars.get(p)), chars.get(i + 1));
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if i == 0 =>
                {
                    true
                }
                '?' | '-' if i == 0 => blank(after),
                ':' => blank(after),
                '#' => blank(before),
                _ => false,
            };
            special |= !printable(*c);
            match c {
                '\n' => {
                    breaks = true;
                    space_break |= before == Some(&' ');
                }
                ' ' => break_space |= before == Some(&'\n'),
                _ => {}
            }
        }
        let edge = |c: Option<&char>| matches!(c, Some(' ' | '\n'));
        let (first, last) = (chars.first(), chars.last());
        let hard = space_break || special;
        Self {
            plain: !(edge(first) || edge(last) || break_space || hard || breaks || indicators),
            single: !(break_space || hard),
            block: !(hard || last == Some(&' ') || chars.is_empty()),
        }
    }
}

pub(super) fn printable(c: char) -> bool {
    matches!(c, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// Whether a plain text would be read as a text.
fn is_text(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n",
        "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
        ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", "<<",
    ];
    if WORDS.contains(&text) {
        return false;
    }
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let plain = text.replace('_', "");
            !(is_integer(&plain) || is_float(&plain) || is_time(text) || is_base_60(text))
        }
        Some(b'.') => text.parse::<f64>().is_err(),
        _ => true,
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    if text.len() - digits.len() > 1 || digits.is_empty() {
        return false;
    }
    let (base, rest) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some(two) if two.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    // What is too long is read as a float.
    u64::from_str_radix(rest, base).is_ok()
}

fn is_float(text: &str) -> bool {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let shape = number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    shape && number.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.') && number.parse::<f64>().is_ok()
}

/// `190:20:30`.
fn is_base_60(text: &str) -> bool {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = number.split(':');
    let digits = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b'.');
    number.contains(':') && parts.all(|p| digits(p) && p.len() <= 20)
}

/// Times and dates: `2001-1-1`, `2001-01-01T01:01:01Z`, `2001-01-01 01:01:01`.
fn is_time(text: &str) -> bool {
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let number = |p: &str, most: usize| !p.is_empty() && p.len() <= most && p.bytes().all(|b| b.is_ascii_digit());
    let [year, month, day] = parts.as_slice() else { return false };
    let is_date = year.len() == 4 && number(year, 4) && number(month, 2) && number(day, 2);
    is_date && rest.is_none_or(|r| r.starts_with(|c: char| c.is_ascii_digit()) && r.contains(':'))
}
