//! Configuration files in YAML, read and written by way of values.
//!
//! A reader of YAML that is made for each type of a configuration would be megabytes of code.

mod read;

pub use read::parse;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads YAML 1.1, as Kubernetes' files are, or JSON; the error says what is wrong.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let (value, twice) = parse(text)?;
    if !twice.is_empty() {
        return Err(format!("yaml: unmarshal errors:\n  {}", twice.join("\n  ")));
    }
    ironclad_json::from_value(value).map_err(|e| e.to_string())
}

/// Writes YAML.
pub fn write(object: &impl Serialize) -> Result<String, String> {
    let value = ironclad_json::to_value(object).map_err(|e| e.to_string())?;
    serde_saphyr::to_string(&value).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::{Value, json};
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        name: String,
        #[serde(default)]
        mode: u32,
    }

    #[test]
    fn types_are_read_by_way_of_values() {
        assert_eq!(read("name: a\nmode: 0644"), Ok(File { name: "a".into(), mode: 0o644 }));
        assert_eq!(read(r#"{"name": "a"}"#), Ok(File { name: "a".into(), mode: 0 }));
        assert!(read::<File>("name: a\nnmae: b").unwrap_err().contains("unknown field `nmae`"));
        assert!(read::<File>("name: [").is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        let value = json!({"a": [1, "two", null], "b": {"c": true}});
        assert_eq!(read::<Value>(&write(&value).unwrap()).unwrap(), value);
    }
}
