//! Keys in the names of headers: what a header's name cannot hold is percent-encoded.

/// Undoes the encoding; what is none stays.
pub(crate) fn decoded(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(b) = bytes.next() {
        let mut ahead = bytes.clone();
        let pair = (b == b'%').then(|| Some([ahead.next()?, ahead.next()?])).flatten();
        let digits = pair.filter(|p| p.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|p| u8::from_str_radix(std::str::from_utf8(&p).ok()?, 16).ok());
        out.push(code.unwrap_or(b));
        if code.is_some() {
            bytes = ahead;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
