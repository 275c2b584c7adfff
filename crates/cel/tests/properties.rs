//! Whatever an expression says, compiling and evaluating end, and neither panics.

use ironclad_cel::{Activation, Budget, Environment, Type, Val};
use ironclad_json::json;
use proptest::prelude::*;

fn run(source: &str) {
    let env = Environment::new().with("x", Type::Dyn).with("y", Type::list(Type::Int)).with_mutations();
    let Ok(program) = env.compile(source) else { return };
    let value = json!({"a": [1, 2.5, "t", null, {"b": true}], "b": "text", "n": -9_223_372_036_854_775_808i64});
    let list = json!([1, 2, 3]);
    let mut activation = Activation::new();
    activation.set("x", Val::json(&value, None));
    activation.set("y", Val::json(&list, None));
    let mut budget = Budget::new(20_000);
    if let Ok(value) = program.eval(&activation, &mut budget) {
        drop(value.to_json());
    }
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x".to_owned()),
        Just("y".to_owned()),
        Just("x.a".to_owned()),
        Just("x.b".to_owned()),
        Just("x.n".to_owned()),
        Just("null".to_owned()),
        Just("-9223372036854775808".to_owned()),
        any::<i64>().prop_map(|i| format!("({i})")),
        any::<u64>().prop_map(|u| format!("{u}u")),
        "[a-z%.é]{0,6}".prop_map(|t| format!("'{t}'")),
        Just("duration('1h')".to_owned()),
        Just("timestamp('2024-01-01T00:00:00Z')".to_owned()),
        Just("quantity('1Gi')".to_owned()),
        Just("1.5".to_owned()),
    ];
    leaf.prop_recursive(5, 64, 4, |inner| {
        let ops = prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", "in", "&&", "||"]);
        let methods = prop::sample::select(vec![
            "size()",
            "split('')",
            "join('')",
            "indexOf('a')",
            "lastIndexOf('é', 1)",
            "substring(1, 2)",
            "sum()",
            "min()",
            "charAt(2)",
            "replace('', 'ab', 3)",
            "findAll('[a-z]', 2)",
            "matches('(a|b)*')",
            "getHours()",
            "asInteger()",
            "format([1, 'a'])",
            "orValue(1)",
            "trim()",
            "lowerAscii()",
            "isSorted()",
        ]);
        let macros = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        prop_oneof![
            (inner.clone(), ops, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (inner.clone(), methods).prop_map(|(a, m)| format!("dyn({a}).{m}")),
            (inner.clone(), macros, inner.clone()).prop_map(|(a, m, b)| format!("dyn({a}).{m}(x, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a})[{b}]")),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.clone().prop_map(|a| format!("int(dyn({a}))")),
            inner.clone().prop_map(|a| format!("string(dyn({a}))")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("(dyn({a}) ? dyn({b}) : dyn({c}))")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_taken_or_refused(source in "\\PC{0,60}") {
        run(&source);
    }

    #[test]
    fn any_tokens_are_taken_or_refused(tokens in prop::collection::vec(prop::sample::select(vec![
        "x", "y", ".", "?", ":", "(", ")", "[", "]", "{", "}", ",", "1", "2u", "'a'", "b'x'", "!", "-", "&&", "||", "==",
        "in", "has", "all", "map", "Object", "optional", "none", "r'\\'", "1.5", "null", "//", "\n", "\"", "\\",
    ]), 0..40)) {
        run(&tokens.concat());
        run(&tokens.join(" "));
    }

    #[test]
    fn any_expression_ends(source in expression()) {
        run(&source);
    }
}
