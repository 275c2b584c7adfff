//! Selectors and values that stand in queries and fields.

use ironclad_api::quantity::Quantity;
use ironclad_api::selector::{FieldSelector, LabelSelector};
use ironclad_api::{names, time};
use ironclad_structural::JsonPath;

pub(crate) const SELECTOR_WORDS: &[&str] =
    &[" in ", " notin ", "(", ")", ",", "!", "=", "==", "!=", ">", "<", "\\", "metadata.name", "a", "é"];
pub(crate) const VALUE_WORDS: &[&str] = &[
    "Ki", "Mi", "m", "e", "E", ".", "-", "+", "h", "ms", "µs", "T", "Z", "+00:00", "[", "]", "{", "'", "..", "@", "*",
];

/// What is understood is written back and means the same.
pub(crate) fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let written = selector.to_string();
        let again = LabelSelector::parse(&written).unwrap_or_else(|e| panic!("{text:?} became {written:?}: {e}"));
        for labels in [&[][..], &[("a".to_owned(), "b".to_owned())]] {
            assert_eq!(again.matches(labels), selector.matches(labels), "{text:?} became {written:?}");
        }
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let written = selector.to_string();
        assert!(FieldSelector::parse(&written).is_ok(), "{text:?} became {written:?}");
    }
}

/// Quantities, durations, times, names, paths into objects.
pub(crate) fn values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(quantity) = text.parse::<Quantity>() {
        let canonical = quantity.to_string();
        let again: Quantity = canonical.parse().unwrap_or_else(|e| panic!("{text:?} became {canonical:?}: {e}"));
        assert_eq!(again.to_string(), canonical, "{text:?}");
    }
    let _ = time::go_duration(text);
    let _ = names::dns1123_subdomain(text);
    let _ = names::dns1035_label(text);
    if let Some(path) = JsonPath::parse(text) {
        path.find(&ironclad_json::json!({"a": [{"b": 1}, {"c": null}], "d": {"e": "f"}}));
    }
    drop(ironclad_structural::pattern(text));
}
