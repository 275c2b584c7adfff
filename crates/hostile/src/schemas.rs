//! Expressions, and schemas of custom resources with objects for them.

use ironclad_api::Path;
use ironclad_cel::{Activation, Budget, Environment, Type, Val};
use ironclad_json::{Value, json};
use ironclad_structural::{Rules, Schema, check, default, definition, embedded, lists, prune, shapes, validate};

pub(crate) const CEL_WORDS: &[&str] = &[
    "x",
    "y",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "?",
    ":",
    ".",
    ",",
    "&&",
    "||",
    "==",
    "+",
    "-",
    "*",
    " in ",
    ".all(e, ",
    ".map(e, ",
    ".exists(e, ",
    "has(x.a)",
    "'a'",
    "r'",
    "b'",
    "\\x41",
    "duration(",
    "timestamp(",
    "quantity(",
    ".split(",
    ".format(",
    ".matches(",
    "optional.of(",
    ".?a",
    "[?0]",
    "9223372036854775807",
    "0x",
    "u",
    "1e999",
    "cel.bind(v, ",
    "dyn(",
];
pub(crate) const SCHEMA_WORDS: &[&str] = &[
    "\"type\":\"object\"",
    "\"type\":\"array\"",
    "\"type\":\"string\"",
    "\"properties\":{",
    "\"items\":{",
    "\"allOf\":[",
    "\"not\":{",
    "\"additionalProperties\":",
    "\"default\":",
    "\"nullable\":true",
    "\"pattern\":\"",
    "\"enum\":[",
    "\"maxItems\":",
    "\"format\":\"",
    "\"x-kubernetes-list-type\":\"map\"",
    "\"x-kubernetes-list-map-keys\":[",
    "\"x-kubernetes-preserve-unknown-fields\":true",
    "\"x-kubernetes-validations\":[{\"rule\":\"",
    "\"x-kubernetes-embedded-resource\":true",
    "\"x-kubernetes-int-or-string\":true",
    "{",
    "}",
    "[",
    "]",
    ",",
    "null",
    "self",
    "oldSelf",
];
const BUDGET: u64 = 20_000;

/// Compiling and evaluating end within the budget.
pub(crate) fn cel(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let env = Environment::new().with("x", Type::Dyn).with("y", Type::list(Type::Int)).with_mutations();
    let Ok(program) = env.compile(source) else { return };
    let value = json!({"a": [1, 2.5, "t", null, {"b": true}], "b": "text", "n": i64::MIN});
    let list = json!([1, 2, 3]);
    let mut activation = Activation::new();
    activation.set("x", Val::json(&value, None));
    activation.set("y", Val::json(&list, None));
    let mut budget = Budget::new(BUDGET);
    if let Ok(value) = program.eval(&activation, &mut budget) {
        drop(value.to_json());
        assert!(budget.used() <= BUDGET, "{source} cost {}", budget.used());
    }
}

/// A document that is a schema, or that holds one and an object for it. Pruning and defaulting are done once.
pub(crate) fn schemas(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let (raw, object) = match document.get("schema") {
        Some(schema) => (schema.clone(), document.get("object").cloned().unwrap_or_default()),
        None => (document.clone(), document),
    };
    let at = Path::new("s");
    let structural = check::structural(&at, &raw).is_empty();
    let valid = definition::validate(&at, &raw, true, false).is_empty();
    let Ok(schema) = Schema::parse(&raw) else { return };
    let mut object = object;
    drop(embedded::coerce(&Path::root(), &mut object, &schema, true, true));
    embedded::validate(&Path::root(), &object, &schema, true);
    let settle = |value: &mut Value| {
        prune::prune(value, &schema, true);
        default::drop_nulls(value, &schema);
        default::default(value, &schema);
    };
    settle(&mut object);
    if structural && valid {
        let once = object.clone();
        settle(&mut object);
        assert_eq!(object, once, "settled once and twice");
    }
    validate::validate(&Path::root(), &schema, &object, Some(&object));
    lists::validate(&Path::root(), &schema, &object);
    if let Some(rules) = Rules::of(&schema, &raw, true) {
        rules.validate(&Path::root(), &object, Some(&object));
    }
    shapes::shape(&schema);
}
