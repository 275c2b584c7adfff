//! Values as stock shows them in errors where it names the fields of its inner types: capitalized, in their order, and
//! with what is missing.

use ironclad_json::Value;

/// An object with the fields given, each with its JSON for when it is missing.
pub(crate) fn inside(value: &Value, fields: &[(&str, &str)]) -> String {
    let shown = fields.iter().map(|(name, zero)| {
        let missing = if zero.is_empty() { "\"\"" } else { zero };
        let given = value.get(*name).filter(|v| !v.is_null());
        format!("\"{}\":{}", title(name), given.map_or_else(|| missing.to_owned(), ToString::to_string))
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
}

/// The name of a field in stock's inner types.
fn title(name: &str) -> String {
    match name {
        "seLinuxOptions" => return "SELinuxOptions".to_owned(),
        "gmsaCredentialSpecName" => return "GMSACredentialSpecName".to_owned(),
        "gmsaCredentialSpec" => return "GMSACredentialSpec".to_owned(),
        _ => {}
    }
    let mut chars = name.chars();
    chars.next().map(|c| c.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn what_is_missing_is_shown_and_names_are_those_inside() {
        let claim = json!({"resourceClaimName": "x"});
        let fields = [("name", ""), ("resourceClaimName", "null"), ("resourceClaimTemplateName", "null")];
        let want = r#"{"Name":"","ResourceClaimName":"x","ResourceClaimTemplateName":null}"#;
        assert_eq!(inside(&claim, &fields), want);
    }
}
