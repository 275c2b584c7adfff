//! Variables from a file in a volume (KEP-3721).

use crate::container::Volume;
use k8s_openapi::api::core::v1::FileKeySelector;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::collections::HashMap;
use std::io::Read;

/// Longest file in bytes.
const MAX: u64 = 64 * 1024;

/// The value of a key of a file; nothing where an optional one is missing.
pub(super) fn value(reference: &FileKeySelector, volumes: &HashMap<String, Volume>) -> Result<Option<String>, String> {
    let Some(Volume::Path(volume)) = volumes.get(&reference.volume_name) else {
        return Err(format!("cannot find volume {:?} for the environment file", reference.volume_name));
    };
    let optional = reference.optional == Some(true);
    let read = || -> std::io::Result<String> {
        let root = std::fs::File::open(volume)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat2(&root, &reference.path, flags, Mode::empty(), ResolveFlags::BENEATH)?;
        let mut text = String::new();
        std::fs::File::from(file).take(MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && optional => Ok(None),
        Err(e) => Err(format!("couldn't parse env file {:?}: {e}", reference.path)),
        Ok(text) => match find(&text, &reference.key) {
            None if !optional => Err(format!("environment variable key {:?} not found in file", reference.key)),
            found => Ok(found),
        },
    }
}

/// `KEY='value'` or `KEY=value` lines; the last one counts.
fn find(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.starts_with('#'));
    let value = lines.filter_map(|l| l.split_once('=')).rfind(|(k, _)| k.trim() == key)?.1.trim();
    let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
    Some(quoted('\'').or_else(|| quoted('"')).unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_last_line_of_a_key_counts() {
        let text = "# A=0\nA=1\nB='two words'\nA = \"3\"\n";
        assert_eq!(super::find(text, "A").as_deref(), Some("3"));
        assert_eq!(super::find(text, "B").as_deref(), Some("two words"));
        assert_eq!(super::find(text, "C"), None);
    }
}
