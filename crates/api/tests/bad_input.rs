//! Selectors, quantities and times from outside: whatever the text, it is understood or refused.

use ironclad_api::quantity::Quantity;
use ironclad_api::selector::{FieldSelector, LabelSelector};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_label_selector_that_is_understood_is_written_back(text in "[a-zA-Z0-9!=,() ./_-]{0,60}|(a|b|in|notin|[!=,() ]){0,12}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            let written = selector.to_string();
            let again = LabelSelector::parse(&written);
            prop_assert!(again.is_ok(), "{text:?} became {written:?}");
            let labels = vec![("a".to_owned(), "b".to_owned())];
            prop_assert_eq!(again.unwrap().matches(labels.as_slice()), selector.matches(labels.as_slice()));
        }
    }

    #[test]
    fn a_field_selector_that_is_understood_is_written_back(text in "[a-z.=!,\\\\ ]{0,40}") {
        if let Ok(selector) = FieldSelector::parse(&text) {
            let written = selector.to_string();
            prop_assert!(FieldSelector::parse(&written).is_ok(), "{text:?} became {written:?}");
        }
    }

    #[test]
    fn a_quantity_that_is_understood_is_canonical_once(text in "[+-]?[0-9]{0,20}[.]?[0-9]{0,12}(|[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})") {
        if let Ok(quantity) = text.parse::<Quantity>() {
            let canonical = quantity.to_string();
            let again: Quantity = canonical.parse().unwrap();
            prop_assert_eq!(again.to_string(), canonical);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
        let _ = text.parse::<Quantity>();
    }
}
