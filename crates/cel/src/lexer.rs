//! Tokens of CEL, with their places in characters.

use crate::error::Issue;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Ident(String),
    Int(i64),
    /// 9223372036854775808, which only a minus before it makes valid.
    MinInt,
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    Op(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) at: usize,
    pub(crate) text: String,
}

const OPS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

pub(crate) fn lex(source: &[char]) -> (Vec<Spanned>, Vec<Issue>) {
    let mut lexer = Lexer { source, at: 0, issues: Vec::new() };
    let mut out = Vec::new();
    loop {
        lexer.skip();
        let start = lexer.at;
        let Some(token) = lexer.token() else { continue };
        let text = if token == Token::End { "<EOF>".to_owned() } else { source[start..lexer.at].iter().collect() };
        let end = token == Token::End;
        out.push(Spanned { token, at: start, text });
        if end {
            return (out, lexer.issues);
        }
    }
}

struct Lexer<'a> {
    source: &'a [char],
    at: usize,
    issues: Vec<Issue>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.source.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn issue(&mut self, at: usize, message: impl Into<String>) {
        self.issues.push(Issue { at, message: message.into() });
    }

    fn skip(&mut self) {
        loop {
            match self.peek(0) {
                ' ' | '\t' | '\r' | '\n' | '\u{c}' => self.at += 1,
                '/' if self.peek(1) == '/' => {
                    while self.at < self.source.len() && self.peek(0) != '\n' {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn token(&mut self) -> Option<Token> {
        if self.at >= self.source.len() {
            return Some(Token::End);
        }
        let c = self.peek(0);
        if let Some(prefix) = self.string_prefix() {
            return self.string(prefix);
        }
        if c.is_ascii_alphabetic() || c == '_' {
            let start = self.at;
            while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
                self.at += 1;
            }
            return Some(Token::Ident(self.source[start..self.at].iter().collect()));
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_ascii_digit()) {
            return self.number();
        }
        // Two characters stand first in the list and win over their first one.
        if let Some(op) = OPS.iter().find(|op| op.chars().enumerate().all(|(i, o)| self.peek(i) == o)) {
            self.at += op.len();
            return Some(Token::Op(op));
        }
        // Stock's lexer shows what it skipped together with the character that did not fit.
        let start = self.at;
        self.at += 1;
        let shown: String = if ['&', '|', '='].contains(&c) && self.at < self.source.len() {
            self.source[start..=self.at].iter().collect()
        } else {
            c.to_string()
        };
        self.issue(start, format!("Syntax error: token recognition error at: '{}'", shown.escape_debug()));
        None
    }

    fn number(&mut self) -> Option<Token> {
        let start = self.at;
        let digits = |l: &mut Self| {
            while l.peek(0).is_ascii_digit() {
                l.at += 1;
            }
        };
        if self.peek(0) == '0' && matches!(self.peek(1), 'x') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            while self.peek(0).is_ascii_hexdigit() {
                self.at += 1;
            }
            let text: String = self.source[start + 2..self.at].iter().collect();
            return self.integer(start, &text, 16);
        }
        digits(self);
        let mut float = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            float = true;
            self.at += 1;
            digits(self);
        }
        let sign = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + sign).is_ascii_digit() {
            float = true;
            self.at += 1 + sign;
            digits(self);
        }
        let text: String = self.source[start..self.at].iter().collect();
        if !float {
            return self.integer(start, &text, 10);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Some(Token::Double(value)),
            _ => {
                self.issue(start, "invalid double literal");
                Some(Token::Double(0.0))
            }
        }
    }

    fn integer(&mut self, start: usize, text: &str, radix: u32) -> Option<Token> {
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return Some(match u64::from_str_radix(text, radix) {
                Ok(value) => Token::Uint(value),
                Err(_) => {
                    self.issue(start, "invalid uint literal");
                    Token::Uint(0)
                }
            });
        }
        Some(match u64::from_str_radix(text, radix) {
            Ok(value) if i64::try_from(value).is_ok() => Token::Int(value as i64),
            Ok(value) if value == 1 << 63 => Token::MinInt,
            _ => {
                self.issue(start, "invalid int literal");
                Token::Int(0)
            }
        })
    }

    /// Length of `r`, `b`, `rb`, `br` before a quote, and whether they say raw and bytes.
    fn string_prefix(&self) -> Option<(usize, bool, bool)> {
        let quote = |i: usize| matches!(self.peek(i), '"' | '\'');
        let (a, b) = (self.peek(0).to_ascii_lowercase(), self.peek(1).to_ascii_lowercase());
        match (a, b) {
            _ if quote(0) => Some((0, false, false)),
            ('r', _) if quote(1) => Some((1, true, false)),
            ('b', _) if quote(1) => Some((1, false, true)),
            ('r', 'b') | ('b', 'r') if quote(2) => Some((2, true, true)),
            _ => None,
        }
    }

    fn string(&mut self, (skip, raw, bytes): (usize, bool, bool)) -> Option<Token> {
        let start = self.at;
        self.at += skip;
        let quote = self.peek(0);
        let long = self.peek(1) == quote && self.peek(2) == quote;
        self.at += if long { 3 } else { 1 };
        let mut out: Vec<u8> = Vec::new();
        let mut bad = None;
        loop {
            let c = self.peek(0);
            let closes = c == quote && (!long || (self.peek(1) == quote && self.peek(2) == quote));
            if self.at >= self.source.len() || (!long && (c == '\n' || c == '\r')) {
                let shown: String = self.source[start..self.at.min(self.source.len())].iter().collect();
                self.issue(start, format!("Syntax error: token recognition error at: '{}'", shown.escape_debug()));
                return None;
            }
            if closes {
                self.at += if long { 3 } else { 1 };
                break;
            }
            if c == '\\' && !raw {
                if let Err(why) = self.escape(&mut out, bytes) {
                    bad = Some(why);
                }
                continue;
            }
            self.at += 1;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if let Some(why) = bad {
            self.issue(start, why);
        }
        if bytes {
            return Some(Token::Bytes(out.into()));
        }
        Some(Token::Text(String::from_utf8_lossy(&out).into()))
    }

    fn escape(&mut self, out: &mut Vec<u8>, bytes: bool) -> Result<(), &'static str> {
        const BAD: &str = "Syntax error: token recognition error: invalid escape sequence";
        let c = self.peek(1);
        self.at += 2;
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => c as u8,
            _ => 0,
        };
        if simple != 0 {
            out.push(simple);
            return Ok(());
        }
        let (length, radix) = match c {
            'x' | 'X' => (2, 16),
            'u' if !bytes => (4, 16),
            'U' if !bytes => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(BAD),
        };
        let digits: String = (0..length).map(|i| self.peek(i)).collect();
        let value = u32::from_str_radix(&digits, radix).map_err(|_| BAD)?;
        self.at += length;
        if bytes {
            out.push(u8::try_from(value).map_err(|_| BAD)?);
            return Ok(());
        }
        let c = char::from_u32(value).ok_or(BAD)?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }
}
