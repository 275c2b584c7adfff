//! YAML that comes in: bounded, in the version of the language that Kubernetes reads, with keys that stand twice noted
//! by their lines.

use granit_parser::{Event, Parser};
use ironclad_json::Value;
use std::collections::HashSet;

/// How many keys are told that stand twice.
const TOLD: usize = 100;

/// A document as JSON, and what Go's reader says of keys that stand twice.
pub(crate) fn parse(text: &str) -> Result<(Value, Vec<String>), String> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    let value = serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
    Ok((value, duplicates(text)))
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
    fn yaml_is_that_of_kubernetes() {
        let (value, _) = parse("a: 0644\nb: yes\nc: 'yes'\nd: ~\ne: 1e3\nf: 2001-01-01\n").unwrap();
        assert_eq!(
            (&value["a"], &value["b"], &value["c"], &value["d"]),
            (&json!(420), &json!(true), &json!("yes"), &json!(null))
        );
        assert_eq!((&value["e"], &value["f"]), (&json!(1000.0), &json!("2001-01-01")));
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
