//! What is wrong with a document, in the words of Go's reader: the machine of its scanner, run over documents that are
//! known to be broken.

/// What the scanner waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// The first item of a list, or its end.
    Item,
    /// The first key of an object, or its end.
    FirstKey,
    Key,
    Colon,
    /// Behind a value, inside of something or at the top.
    After,
}

/// Levels that may lie in each other.
const DEPTH: usize = 10_000;

/// The first mistake in a document; `None` where there is none.
pub(super) fn mistake(bytes: &[u8]) -> Option<String> {
    Scanner { bytes, at: 0, open: Vec::new() }.scan().err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<u8>,
}

type Scanned<T = ()> = Result<T, String>;

impl Scanner<'_> {
    fn scan(&mut self) -> Scanned {
        let mut state = State::Value;
        loop {
            while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            let done = state == State::After && self.open.is_empty();
            let Some(&byte) = self.bytes.get(self.at) else {
                return if done { Ok(()) } else { Err(ended()) };
            };
            if done {
                return Err(invalid(byte, "after top-level value"));
            }
            state = self.step(state, byte)?;
        }
    }

    fn step(&mut self, state: State, byte: u8) -> Scanned<State> {
        match state {
            State::Item if byte == b']' => self.close(),
            State::Value | State::Item => self.value(byte),
            State::FirstKey if byte == b'}' => self.close(),
            State::FirstKey | State::Key if byte == b'"' => self.string().map(|()| State::Colon),
            State::FirstKey | State::Key => Err(invalid(byte, "looking for beginning of object key string")),
            State::Colon if byte == b':' => self.next(State::Value),
            State::Colon => Err(invalid(byte, "after object key")),
            State::After => match (self.open.last(), byte) {
                (Some(b'{'), b',') => self.next(State::Key),
                (Some(b'['), b',') => self.next(State::Value),
                (Some(b'{'), b'}') | (Some(b'['), b']') => self.close(),
                (Some(b'{'), _) => Err(invalid(byte, "after object key:value pair")),
                _ => Err(invalid(byte, "after array element")),
            },
        }
    }

    fn next(&mut self, state: State) -> Scanned<State> {
        self.at += 1;
        Ok(state)
    }

    fn close(&mut self) -> Scanned<State> {
        self.open.pop();
        self.next(State::After)
    }

    fn value(&mut self, byte: u8) -> Scanned<State> {
        match byte {
            b'{' | b'[' => {
                self.open.push(byte);
                if self.open.len() > DEPTH {
                    return Err("exceeded max depth".to_owned());
                }
                return self.next(if byte == b'{' { State::FirstKey } else { State::Item });
            }
            b'"' => self.string()?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(invalid(byte, "looking for beginning of value")),
        }
        Ok(State::After)
    }

    fn literal(&mut self, word: &str) -> Scanned {
        for want in word.bytes() {
            let byte = *self.bytes.get(self.at).ok_or_else(ended)?;
            if byte != want {
                return Err(invalid(byte, &format!("in literal {word} (expecting {})", quoted(want))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Scanned {
        self.at += 1;
        loop {
            let byte = *self.bytes.get(self.at).ok_or_else(ended)?;
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                0..=0x1f => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Scanned {
        let byte = *self.bytes.get(self.at).ok_or_else(ended)?;
        self.at += 1;
        match byte {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    let byte = *self.bytes.get(self.at).ok_or_else(ended)?;
                    if !byte.is_ascii_hexdigit() {
                        return Err(invalid(byte, "in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(invalid(byte, "in string escape code")),
        }
    }

    fn number(&mut self) -> Scanned {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
            self.must_be_digit("in numeric literal")?;
        }
        // Nothing follows a leading zero.
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.must_be_digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.must_be_digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn must_be_digit(&self, place: &str) -> Scanned {
        match self.bytes.get(self.at) {
            Some(b'0'..=b'9') => Ok(()),
            Some(&byte) => Err(invalid(byte, place)),
            None => Err(ended()),
        }
    }

    fn digits(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }
}

fn ended() -> String {
    "unexpected end of JSON input".to_owned()
}

fn invalid(byte: u8, place: &str) -> String {
    format!("invalid character {} {place}", quoted(byte))
}

/// A byte as Go quotes it: as the character of that number.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => {
            let text = ironclad_api::go_quote((byte as char).encode_utf8(&mut [0; 2]));
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::mistake;

    #[test]
    fn mistakes_are_told_as_go_tells_them() {
        let table: [(&[u8], &str); 16] = [
            (b"nope", "invalid character 'o' in literal null (expecting 'u')"),
            (b"[01]", "invalid character '1' after array element"),
            (b"{\"a\":01}", "invalid character '1' after object key:value pair"),
            (b"[1.]", "invalid character ']' after decimal point in numeric literal"),
            (b"[1e]", "invalid character ']' in exponent of numeric literal"),
            (b"[-]", "invalid character ']' in numeric literal"),
            (b"\"a\nb\"", "invalid character '\\n' in string literal"),
            (b"\"\\q\"", "invalid character 'q' in string escape code"),
            (b"\"\\u12x\"", "invalid character 'x' in \\u hexadecimal character escape"),
            (b"[]]", "invalid character ']' after top-level value"),
            (b"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            (b"[1,]", "invalid character ']' looking for beginning of value"),
            (b"", "unexpected end of JSON input"),
            (b"{\"a\"", "unexpected end of JSON input"),
            (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
            ("\u{e9}".as_bytes(), "invalid character '\u{c3}' looking for beginning of value"),
        ];
        for (document, want) in table {
            assert_eq!(mistake(document).as_deref(), Some(want), "{}", String::from_utf8_lossy(document));
        }
        assert_eq!(mistake(b" {\"a\": [1, -2.5e+3, {}], \"b\": \"\\u00e9\"} "), None);
    }
}
