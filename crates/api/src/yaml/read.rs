//! YAML that comes in: bounded, in the version of the language that Kubernetes reads, with keys that stand twice noted
//! by their lines.

use granit_parser::{Event, Parser, ScalarStyle};
use ironclad_json::Value;
use std::collections::HashSet;

/// How many keys are told that stand twice.
const TOLD: usize = 100;

/// A document as JSON, and what Go's reader says of keys that stand twice.
pub fn parse(text: &str) -> Result<(Value, Vec<String>), String> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    let text = first(text);
    let plain = words(text);
    let text = plain.as_deref().unwrap_or(text);
    let value = serde_saphyr::from_str_with_options(text, options).map_err(|e| mistake(&e.to_string()))?;
    Ok((value, duplicates(text)))
}

/// The first document of a text: what follows it is not looked at.
fn first(text: &str) -> &str {
    let (mut at, mut begun) = (0, false);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if begun && (bare == "---" || bare == "..." || bare.starts_with("--- ")) {
            return &text[..at];
        }
        begun |= !bare.is_empty() && !bare.starts_with(['#', '%']) && bare != "---";
        at += line.len();
    }
    text
}

/// Words that mean a truth or nothing, in the only forms in which they do.
const WORDS: &[&str] = &[
    "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N",
    "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF",
];

/// The document with such words in quotes that would mean something in another form only.
fn words(text: &str) -> Option<String> {
    let odd = |word: &str| !WORDS.contains(&word) && WORDS.contains(&word.to_ascii_lowercase().as_str());
    if !text.split(|c: char| !c.is_ascii_alphabetic()).any(odd) {
        return None;
    }
    let (mut out, mut done) = (String::with_capacity(text.len() + 16), 0);
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut parser = Parser::new_from_str(text);
    // An error ends the search; whoever reads the document says more.
    while let Some(Ok((event, span))) = parser.next_event() {
        let (begin, end) = (starts.get(span.start.index()), starts.get(span.end.index()));
        match (event, begin, end) {
            (Event::Scalar(word, ScalarStyle::Plain, ..), Some(&begin), Some(&end))
                if odd(&word) && text.get(begin..end) == Some(&*word) && begin >= done =>
            {
                out.push_str(&text[done..begin]);
                out.push('"');
                out.push_str(&word);
                out.push('"');
                done = end;
            }
            (Event::StreamEnd, ..) => break,
            _ => {}
        }
    }
    out.push_str(&text[done..]);
    Some(out)
}

/// A mistake in the words of Go's reader, where they are known: `yaml: line 3: what is wrong`.
fn mistake(said: &str) -> String {
    let said = said.lines().next().unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let Some((line, rest)) = said.strip_prefix("line ").and_then(|rest| rest.split_once(" column ")) else {
        return format!("yaml: {said}");
    };
    let line: usize = line.parse().unwrap_or(0);
    let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
    // Its parser counts from nothing, its scanner from one, and neither names the first line.
    let scanned = |why: &str| if line > 1 { format!("yaml: line {line}: {why}") } else { format!("yaml: {why}") };
    match why {
        why if why.starts_with("tabs disallowed") || why.starts_with("unexpected character") => {
            scanned("found character that cannot start any token")
        }
        "unclosed quote" => scanned("found unexpected end of stream"),
        "unclosed bracket '{'" => format!("yaml: line {line}: did not find expected ',' or '}}'"),
        "unclosed bracket '['" => format!("yaml: line {line}: did not find expected ',' or ']'"),
        why if why.starts_with("while parsing") && why.contains("did not find") => {
            let why = why.split_once(", ").map_or(why, |(_, why)| why);
            match line {
                0 | 1 => format!("yaml: {why}"),
                line => format!("yaml: line {}: {why}", line - 1),
            }
        }
        why if why.starts_with("while ") => scanned(why.split_once(", ").map_or(why, |(_, why)| why)),
        why => scanned(why),
    }
}

/// What is open while a document is read.
enum Open {
    /// A mapping with the keys that it has, and whether a key comes next.
    Map(HashSet<String>, bool),
    List,
}

fn duplicates(text: &str) -> Vec<String> {
    let (mut open, mut out): (Vec<Open>, Vec<String>) = (Vec::new(), Vec::new());
    let mut parser = Parser::new_from_str(text);
    // The document was read before: an error only ends the search.
    while let Some(Ok((event, span))) = parser.next_event() {
        let key = match (&event, open.last_mut()) {
            (Event::MappingEnd | Event::SequenceEnd, _) => {
                open.pop();
                continue;
            }
            (
                Event::Scalar(..) | Event::Alias(_) | Event::MappingStart(..) | Event::SequenceStart(..),
                Some(Open::Map(keys, next)),
            ) => {
                *next = !*next;
                // It was turned: a key was expected where it is false now.
                (!*next).then_some(keys)
            }
            _ => None,
        };
        match event {
            Event::Scalar(text, ..) => {
                if let Some(keys) = key
                    && !keys.insert(text.to_string())
                    && out.len() < TOLD
                {
                    out.push(format!("line {}: key {:?} already set in map", span.start.line(), text));
                }
            }
            Event::MappingStart(..) => open.push(Open::Map(HashSet::new(), true)),
            Event::SequenceStart(..) => open.push(Open::List),
            Event::StreamEnd => break,
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn keys_that_stand_twice_are_told_by_their_lines() {
        let text = "a: 1\nb:\n  c: u\n  d: [{e: 1, e: 2}]\n  c: v\na: 2\n";
        let (value, duplicates) = parse(text).unwrap();
        assert_eq!(value, json!({"a": 2, "b": {"c": "v", "d": [{"e": 2}]}}));
        let want = [
            "line 4: key \"e\" already set in map",
            "line 5: key \"c\" already set in map",
            "line 6: key \"a\" already set in map",
        ];
        assert_eq!(duplicates, want);
    }

    #[test]
    fn only_the_first_document_counts() {
        for text in ["---\na: 1\n---\na: 2\n", "a: 1\n...\n{", "# b\n--- \na: 1\n--- x\n"] {
            assert_eq!(parse(text).unwrap().0, json!({"a": 1}), "{text}");
        }
        assert_eq!(parse("a: |\n  ---\n  x\n").unwrap().0, json!({"a": "---\nx\n"}));
    }

    #[test]
    fn yaml_is_that_of_kubernetes() {
        let (value, _) = parse("a: 0644\nb: yes\nc: 'yes'\nd: ~\ne: 1e3\nf: 2001-01-01\n").unwrap();
        assert_eq!(
            (&value["a"], &value["b"], &value["c"], &value["d"]),
            (&json!(420), &json!(true), &json!("yes"), &json!(null))
        );
        assert_eq!((&value["e"], &value["f"]), (&json!(1000.0), &json!("2001-01-01")));
    }

    #[test]
    fn truths_and_nothing_have_few_spellings() {
        let text = "a: yEs\nb: [tRue, YES, nUll, Null]\nc: {oN: nO}\nd: 'é'\ne: oFF\n";
        let want = json!({"a": "yEs", "b": ["tRue", true, "nUll", null], "c": {"oN": "nO"}, "d": "é", "e": "oFF"});
        assert_eq!(parse(text).unwrap().0, want);
    }

    #[test]
    fn mistakes_are_worded_as_go_words_them() {
        let table = [
            ("a: b: c", "yaml: mapping values are not allowed in this context"),
            ("a:\n  b: q\n c: x", "yaml: line 2: did not find expected key"),
            ("a: {b: q", "yaml: line 1: did not find expected ',' or '}'"),
            ("a:\n\tb: q", "yaml: line 2: found character that cannot start any token"),
            ("\"", "yaml: found unexpected end of stream"),
            ("a: 1\nb: \"x\\qy\"", "yaml: line 2: found unknown escape character"),
        ];
        for (text, want) in table {
            assert_eq!(parse(text).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..10 {
            let inside = vec![format!("*a{}", n - 1); 10].join(",");
            text.push_str(&format!("a{n}: &a{n} [{inside}]\n"));
        }
        assert!(parse(&text).is_err());
    }
}
