//! Writes values as Go's library does: keys in a natural order, lists not indented, long texts folded at spaces.

use super::scalar::{Style, printable, style};
use ironclad_json::{Map, Value};
use std::cmp::Ordering;

/// Behind which column a text is folded.
const WIDTH: usize = 80;
/// Longer keys stand on a line of their own.
const LONGEST_KEY: usize = 128;

/// A value as a document.
pub(crate) fn to_string(value: &Value) -> String {
    let mut out = Writer { text: String::new(), column: 0 };
    out.value(value, 0, true);
    out.text
}

struct Writer {
    text: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self, indent: usize) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Writes a value whose first line has begun; `top` says that it begins a line of its own at `indent`.
    fn value(&mut self, value: &Value, indent: usize, top: bool) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.map(map, indent);
                return;
            }
            Value::Array(items) if !items.is_empty() => {
                self.list(items, indent);
                return;
            }
            other => self.scalar(other, if top { 0 } else { indent }),
        }
        if top {
            self.text.push('\n');
        }
    }

    fn map(&mut self, map: &Map, indent: usize) {
        let mut entries: Vec<(&ironclad_json::Text, &Value)> = map.iter().collect();
        entries.sort_by(|a, b| natural(a.0, b.0));
        for (index, (key, value)) in entries.into_iter().enumerate() {
            if index > 0 {
                self.start(indent);
            }
            let long = key.len() > LONGEST_KEY;
            if long {
                self.put("? ");
            }
            self.key(key);
            if long {
                self.end();
                self.start(indent);
            }
            self.put(":");
            self.below(value, indent);
        }
    }

    /// What stands behind a key.
    fn below(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.line(indent + 2);
                self.map(map, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                // Lists stand below their key's first letter.
                self.line(indent);
                self.list(items, indent);
            }
            other => {
                self.put(" ");
                self.scalar(other, indent + 2);
                self.end();
            }
        }
    }

    fn list(&mut self, items: &[Value], indent: usize) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.start(indent);
            }
            self.put("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.map(map, indent + 2),
                Value::Array(items) if !items.is_empty() => self.list(items, indent + 2),
                other => {
                    self.scalar(other, indent + 2);
                    self.end();
                }
            }
        }
    }

    /// Begins a line after one that was ended.
    fn start(&mut self, indent: usize) {
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn end(&mut self) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.column = 0;
    }

    fn key(&mut self, key: &str) {
        match style(key, true) {
            Style::Plain => self.put(key),
            Style::Single => self.put(&format!("'{}'", key.replace('\'', "''"))),
            _ => self.double(key, None),
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) => self.text_value(text, indent),
            Value::Null => self.put("null"),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            other => self.put(&other.to_string()),
        }
    }

    fn text_value(&mut self, text: &str, indent: usize) {
        match style(text, false) {
            Style::Plain => self.folded(text, indent),
            Style::Single => {
                self.put("'");
                self.folded(&text.replace('\'', "''"), indent);
                self.put("'");
            }
            Style::Double => self.double(text, Some(indent)),
            Style::Literal => self.literal(text, indent),
        }
    }

    /// Words, folded behind the width wherever a single space stands.
    fn folded(&mut self, text: &str, indent: usize) {
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (i, c) in chars.iter().enumerate() {
            let inside = i > 0 && i + 1 < chars.len();
            if *c == ' ' && !spaces && inside && self.column > WIDTH && chars.get(i + 1) != Some(&' ') {
                self.line(indent);
            } else {
                self.put(c.encode_utf8(&mut [0; 4]));
            }
            spaces = *c == ' ';
        }
    }

    fn double(&mut self, text: &str, fold: Option<usize>) {
        self.put("\"");
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (i, c) in chars.iter().enumerate() {
            let inside = i > 0 && i + 1 < chars.len();
            match (c, fold) {
                (' ', Some(indent)) if !spaces && inside && self.column > WIDTH => {
                    self.line(indent);
                    if chars.get(i + 1) == Some(&' ') {
                        self.put("\\");
                    }
                }
                ('"', _) => self.put("\\\""),
                ('\\', _) => self.put("\\\\"),
                ('\n', _) => self.put("\\n"),
                ('\t', _) => self.put("\\t"),
                ('\r', _) => self.put("\\r"),
                ('\0', _) => self.put("\\0"),
                (c, _) if printable(*c) => self.put(c.encode_utf8(&mut [0; 4])),
                (c, _) => {
                    let code = *c as u32;
                    let escaped = match code {
                        0..=0xff => format!("\\x{code:02X}"),
                        0x100..=0xffff => format!("\\u{code:04X}"),
                        _ => format!("\\U{code:08X}"),
                    };
                    self.put(&escaped);
                }
            }
            spaces = *c == ' ';
        }
        self.put("\"");
    }

    /// A text of several lines, each as it is.
    fn literal(&mut self, text: &str, indent: usize) {
        let indent = indent.max(2);
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        if !text.ends_with('\n') {
            self.put("-");
        } else if text == "\n" || text.ends_with("\n\n") {
            self.put("+");
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.text.push('\n');
            if !line.is_empty() {
                self.start(indent);
                self.put(line);
            }
        }
        self.text.push('\n');
    }
}

/// The order of keys: numbers within them by their values, letters behind the rest.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut digits = false;
    for i in 0..a.len().min(b.len()) {
        if a[i] == b[i] {
            digits = a[i].is_ascii_digit();
            continue;
        }
        return match (a[i].is_alphabetic(), b[i].is_alphabetic()) {
            (true, true) => a[i].cmp(&b[i]),
            (true, false) => {
                if digits {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (false, true) => {
                if digits {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (false, false) => numbers(&a, &b, i),
        };
    }
    a.len().cmp(&b.len())
}

fn numbers(a: &[char], b: &[char], at: usize) -> Ordering {
    let leading =
        (a[at] == '0' || b[at] == '0') && a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let run = |text: &[char]| -> (u64, usize) {
        let digits = text[at..].iter().take_while(|c| c.is_ascii_digit());
        digits.fold((u64::from(leading), 0), |(n, count), c| {
            (n.wrapping_mul(10).wrapping_add(u64::from(c.to_digit(10).unwrap_or(0))), count + 1)
        })
    };
    run(a).cmp(&run(b)).then_with(|| a[at].cmp(&b[at]))
}
