//! JSON indented for people, from the bytes alone.

/// Indents compact JSON by two spaces for each level, as Go does.
pub(crate) fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (place, &byte) in compact.iter().enumerate() {
        if text {
            out.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !matches!(compact.get(place + 1), Some(b'}' | b']')) {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(compact.get(place.wrapping_sub(1)), Some(b'{' | b'[')) {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            other => {
                text = other == b'"';
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_as_a_person_expects() {
        let compact = br#"{"a":{"b":[1,"x:{,\"}"],"c":{},"d":[]}}"#;
        let want =
            "{\n  \"a\": {\n    \"b\": [\n      1,\n      \"x:{,\\\"}\"\n    ],\n    \"c\": {},\n    \"d\": []\n  }\n}";
        assert_eq!(String::from_utf8(indent(compact)).unwrap(), want);
    }
}
