use super::*;

fn found(steps: &[Step], new: Value, old: Option<Value>) -> Vec<String> {
    settle(ErrorList::new(), steps, &new, old.as_ref()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_tree_of_steps_says_what_is_wrong_where() {
    const ITEM: &[Step] = &[
        Step::Field("name", &[Step::Required, Step::Is(format::short_name)]),
        Step::Field("size", &[Step::Optional, Step::Min(1), Step::Max(9)]),
    ];
    const STEPS: &[Step] = &[
        Step::Field(
            "list",
            &[Step::Optional, Step::MaxItems(3), Step::Unique(&["name"]), Step::Items(&["name"], ITEM)],
        ),
        Step::Field(
            "map",
            &[Step::Optional, Step::Keys(format::short_name), Step::Values(&[Step::Union(&["a", "b"])])],
        ),
        Step::Field("kind", &[Step::Optional, Step::OneOf(&["A", "B"]), Step::MaxLength(2), Step::MaxBytes(2)]),
        Step::When("kind", "only", &[("A", Given::Must), ("B", Given::May)], Given::Never),
    ];
    let table = [
        (json!({"kind": "A", "only": {}, "list": []}), vec![]),
        (
            json!({"kind": "B", "list": [{"name": "a", "size": 0}, {"name": "a", "size": -1}, {"name": "b", "size": 10}]}),
            vec![
                "list[1]: Duplicate value: {\"name\":\"a\",\"size\":-1}",
                "list[1].size: Invalid value: -1: must be greater than or equal to 1",
                "list[2].size: Invalid value: 10: must be less than or equal to 9",
            ],
        ),
        (json!({"kind": "B", "list": [{}]}), vec!["list[0].name: Required value"]),
        (json!({"kind": "B", "list": [{}, {}, {}, {}]}), vec!["list: Too many: 4: must have at most 3 items"]),
        (
            json!({"map": {"x": {}, "y": {"a": 1, "b": 2}}}),
            vec![
                "map[x]: Invalid value: \"\": must specify one of: `a`, `b`",
                "map[y]: Invalid value: \"{a, b}\": must specify exactly one of: `a`, `b`",
            ],
        ),
        (json!({"kind": "A"}), vec!["only: Required value"]),
        (
            json!({"kind": "ÄÖÜ", "only": 1}),
            vec![
                "kind: Unsupported value: \"ÄÖÜ\": supported values: \"A\", \"B\"",
                "kind: Too long: may not be more than 2 characters",
                "kind: Too long: may not be more than 2 bytes",
                "only: Forbidden",
            ],
        ),
    ];
    for (object, expected) in table {
        assert_eq!(found(STEPS, object.clone(), None), expected, "{object}");
        // What was so before is not looked at again.
        assert_eq!(found(STEPS, object.clone(), Some(object)), Vec::<String>::new());
    }
    // Items are told apart by their names: a new one is looked at, one that stood elsewhere is not.
    let (old, new) = (json!({"name": "a", "size": 99}), json!({"name": "b", "size": 99}));
    let of = |list: Value| json!({"kind": "B", "list": list});
    let expected = ["list[0].size: Invalid value: 99: must be less than or equal to 9"];
    assert_eq!(found(STEPS, of(json!([new, old])), Some(of(json!([old])))), expected);
}

#[test]
fn what_may_not_change_ends_the_look() {
    const STEPS: &[Step] = &[
        Step::Field("fixed", &[Step::Required, Step::Immutable, Step::OneOf(&["a"])]),
        Step::Field("set", &[Step::OptionalPointer, Step::NoModify]),
    ];
    let of = |fixed: &str, set: Value| json!({"fixed": fixed, "set": set});
    let (immutable, modified) = (
        "fixed: Invalid value: null: field is immutable",
        "set: Invalid value: null: field cannot be modified once set",
    );
    let table = [
        (of("b", json!(1)), of("a", json!(2)), vec![immutable, modified]),
        (of("", Value::Null), of("a", json!(2)), vec!["fixed: Required value", immutable]),
        (of("a", json!(1)), of("a", Value::Null), vec![]),
    ];
    for (new, old, expected) in table {
        assert_eq!(found(STEPS, new.clone(), Some(old)), expected, "{new}");
    }
}

#[test]
fn declared_rules_stand_for_what_they_cover_and_each_mistake_is_told_once() {
    const STEPS: &[Step] = &[Step::Field("name", &[Step::Required])];
    let mut by_hand = ErrorList::new();
    covered(&mut by_hand, |errors| errors.push(FieldError::required(&Path::new("name"), "in other words")));
    let other = FieldError::forbidden(&Path::new("other"), "");
    by_hand.extend([other.clone(), other]);
    let told: Vec<String> = settle(by_hand, STEPS, &json!({}), None).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["other: Forbidden", "name: Required value"]);
}
