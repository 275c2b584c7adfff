//! Label selectors as text: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`, read as stock reads them and refused in its words.

use super::{LabelSelector, Op, Requirement};
use crate::field::{FieldError, Path};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Error,
    Word,
    In,
    NotIn,
    Not,
    Comma,
    Open,
    Close,
    Equals,
    NotEquals,
    Greater,
    Less,
}

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        "!" => Token::Not,
        "," => Token::Comma,
        "(" => Token::Open,
        ")" => Token::Close,
        "=" | "==" => Token::Equals,
        "!=" => Token::NotEquals,
        ">" => Token::Greater,
        "<" => Token::Less,
        _ => return None,
    })
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// The tokens of a text, the last of which is its end.
fn tokens(text: &str) -> Vec<(Token, String)> {
    let (mut rest, mut found) = (text.trim_start_matches(is_space), Vec::new());
    while let Some(first) = rest.chars().next().filter(|c| *c != '\0') {
        let (token, end) = if is_symbol(first) {
            // Of symbols in a row the longest that means something counts.
            let row = rest.find(|c| !is_symbol(c)).unwrap_or(rest.len());
            match (1..=row.min(2)).rev().find_map(|end| Some((symbol(&rest[..end])?, end))) {
                Some(found) => found,
                None => (Token::Error, row),
            }
        } else {
            let end = rest.find(|c| is_symbol(c) || is_space(c) || c == '\0').unwrap_or(rest.len());
            let token = match &rest[..end] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Word,
            };
            (token, end)
        };
        found.push((token, rest[..end].to_owned()));
        rest = rest[end..].trim_start_matches(is_space);
    }
    found.push((Token::End, String::new()));
    found
}

pub(super) fn selector(text: &str) -> Result<LabelSelector, String> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word | Token::Not => {}
            Token::End => break,
            _ => return Err(parser.unexpected(": !, identifier, or 'end of string'")),
        }
        requirements.push(parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?);
        match parser.next().0 {
            Token::End => break,
            Token::Comma if matches!(parser.peek(), Token::Word | Token::Not) => {}
            Token::Comma => return Err(parser.unexpected(": identifier after ','")),
            _ => return Err(parser.last(", expected: ',' or 'end of string'")),
        }
    }
    requirements.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(LabelSelector { requirements, nothing: false })
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    fn operator(&self) -> Token {
        self.tokens.get(self.at).map_or(Token::End, |t| t.0)
    }

    /// What comes, where `in` and `notin` are words like others.
    fn peek(&self) -> Token {
        match self.operator() {
            Token::In | Token::NotIn => Token::Word,
            other => other,
        }
    }

    fn next(&mut self) -> (Token, String) {
        let token = self.peek();
        let text = self.tokens.get(self.at).map(|t| t.1.clone()).unwrap_or_default();
        self.at += 1;
        (token, text)
    }

    /// What comes is not what may come.
    fn unexpected(&self, wanted: &str) -> String {
        let text = self.tokens.get(self.at).map_or("", |t| &t.1);
        format!("found '{text}', expected{wanted}")
    }

    /// What was taken last is not what may come.
    fn last(&self, wanted: &str) -> String {
        let text = self.tokens.get(self.at.saturating_sub(1)).map_or("", |t| &t.1);
        format!("found '{text}'{wanted}")
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut taken = self.next();
        let negated = taken.0 == Token::Not;
        if negated {
            taken = self.next();
        }
        let (Token::Word, key) = taken else { return Err(self.last(", expected: identifier")) };
        checked(&names::qualified_name(&key), &Path::root(), &key).map_or(Ok(()), |e| Err(e.to_string()))?;
        let op = match (matches!(self.peek(), Token::End | Token::Comma), negated) {
            (_, true) => Op::NotExists,
            (true, false) => Op::Exists,
            (false, false) => return self.comparison(key),
        };
        Ok(Requirement { key, op, values: Vec::new() })
    }

    fn comparison(&mut self, key: String) -> Result<Requirement, String> {
        let op = match self.operator() {
            Token::In | Token::Equals => Op::In,
            Token::NotIn | Token::NotEquals => Op::NotIn,
            Token::Greater => Op::Greater,
            Token::Less => Op::Less,
            _ => {
                self.at += 1;
                return Err(self.last(&format!(", expected: {OPERATORS}")));
            }
        };
        let list = matches!(self.operator(), Token::In | Token::NotIn);
        self.at += 1;
        let mut values = if list { self.list()? } else { vec![self.value()?] };
        values.sort();
        values.dedup();
        let path = Path::new("values");
        let mut errors = Vec::new();
        for (index, value) in values.iter().enumerate() {
            if matches!(op, Op::Greater | Op::Less) && value.parse::<i64>().is_err() {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid_str(&path.index(index), value, why));
            }
        }
        for (index, value) in values.iter().enumerate() {
            errors.extend(checked(&names::label_value(value), &path.index(index).key(&key), value));
        }
        match errors.as_slice() {
            [] => Ok(Requirement { key, op, values }),
            [one] => Err(one.to_string()),
            all => Err(format!("[{}]", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Comma => Ok(String::new()),
            Token::Word => Ok(self.next().1),
            _ => Err(self.unexpected(": identifier")),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        if self.next().0 != Token::Open {
            return Err(self.last(" expected: '('"));
        }
        match self.peek() {
            Token::Word | Token::Comma => {}
            Token::Close => {
                self.at += 1;
                return Ok(vec![String::new()]);
            }
            _ => return Err(self.unexpected(": ',', ')' or identifier")),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                (Token::Word, value) => {
                    values.push(value);
                    if !matches!(self.peek(), Token::Comma | Token::Close) {
                        return Err(self.unexpected(": ',' or ')'"));
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() || matches!(self.peek(), Token::Close | Token::Comma) {
                        values.push(String::new());
                    }
                }
                _ => return Err(self.last(", expected: ',', or identifier")),
            }
            if self.peek() == Token::Close {
                self.at += 1;
                return Ok(values);
            }
        }
    }
}

fn checked(errors: &[String], path: &Path, value: &str) -> Option<FieldError> {
    (!errors.is_empty()).then(|| FieldError::invalid_str(path, value, errors.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_refused_in_stocks_words() {
        let requirement = |why: &str| format!("unable to parse requirement: {why}");
        let table = [
            (",", "found ',', expected: !, identifier, or 'end of string'".to_owned()),
            ("e=x,", "found '', expected: identifier after ','".to_owned()),
            ("e=x,,i=1", "found ',', expected: identifier after ','".to_owned()),
            ("(", "found '(', expected: !, identifier, or 'end of string'".to_owned()),
            ("a=b c", "found 'c', expected: ',' or 'end of string'".to_owned()),
            ("!", requirement("found '', expected: identifier")),
            ("!!e", requirement("found '!', expected: identifier")),
            ("e=(x)", requirement("found '(', expected: identifier")),
            ("e===x", requirement("found '=', expected: identifier")),
            ("e in x", requirement("found 'x' expected: '('")),
            ("e in (", requirement("found '', expected: ',', ')' or identifier")),
            ("e in (x,", requirement("found '', expected: ',', or identifier")),
            ("e in (x y)", requirement("found 'y', expected: ',' or ')'")),
            ("a b", requirement("found 'b', expected: in, notin, =, ==, !=, gt, lt")),
            ("/a", requirement("<nil>: Invalid value: \"/a\": prefix part must be non-empty")),
            (
                "i>x",
                requirement("values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
            ),
        ];
        for (text, want) in table {
            assert_eq!(selector(text).unwrap_err(), want, "{text}");
        }
        assert!(selector("a=-b").unwrap_err().contains("values[0][a]: Invalid value: \"-b\": a valid label"));
    }

    #[test]
    fn odd_selectors_mean_what_they_mean_to_stock() {
        let table = [
            ("e in ()", "e="),
            ("e in (,x)", "e in (,x)"),
            ("e in (,)", "e="),
            ("in in (in)", "in=in"),
            ("notin", "notin"),
            ("b,a=,!c", "a=,b,!c"),
            ("x notin (b,a,a)", "x notin (a,b)"),
        ];
        for (text, want) in table {
            assert_eq!(selector(text).unwrap().to_string(), want, "{text}");
        }
    }
}
