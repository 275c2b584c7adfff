//! Rules in CEL (`x-kubernetes-validations`): compiled with the types of their schema, held against values.
//!
//! Invariants: no object costs more than [`ironclad_cel::TOTAL_LIMIT`]; a rule that fails on what has not changed is
//! not held against a change, unless it is about the change itself.

use crate::paths;
use crate::schema::{ListType, Rule, Schema};
use ironclad_api::field::ErrorKind;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_cel::{Activation, Budget, Decl, Environment, Error, PER_CALL_LIMIT, Program, TOTAL_LIMIT, Type, Val};
use ironclad_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest message that an expression may make.
const MESSAGE: usize = 5 * 1024;
const NO_MORE: &str = "no further validation rules will be run";

/// A rule that was compiled, or why it was not.
pub struct Compiled {
    rule: Rule,
    /// The program; none for an empty rule.
    pub program: Result<Option<Program>, String>,
    /// The program of the message.
    pub message: Option<Result<Program, String>>,
    /// Whether the rule is about a change.
    pub uses_old: bool,
    field: String,
}

/// Compiles the rules of one schema, given as JSON. `None` where the schema has no type that expressions know.
pub fn compile(raw: &Value, rules: &[Rule], root: bool) -> Option<(Arc<Decl>, Vec<Compiled>)> {
    let decl = Decl::from_schema(raw, root)?;
    let scope = Environment::new().with_decl("self", decl.clone());
    let plain = scope.clone().with_decl("oldSelf", decl.clone());
    let optional = scope.with("oldSelf", Type::optional(decl.ty()));
    let one = |rule: &Rule| {
        let env = if rule.optional_old_self == Some(true) { &optional } else { &plain };
        let program = program(env, rule);
        let message = (!rule.message_expression.is_empty()).then(|| message(env, &rule.message_expression));
        let uses_old = matches!(&program, Ok(Some(p)) if p.mentions("oldSelf"));
        let field = match rule.field_path.as_str() {
            "" => String::new(),
            path => paths::valid(path, raw, true).map(|(path, _)| path.as_str().to_owned()).unwrap_or_default(),
        };
        Compiled { rule: rule.clone(), program, message, uses_old, field }
    };
    let compiled = rules.iter().map(one).collect();
    Some((decl, compiled))
}

fn program(env: &Environment, rule: &Rule) -> Result<Option<Program>, String> {
    if rule.rule.trim().is_empty() {
        return Ok(None);
    }
    let program = env.compile(&rule.rule).map_err(|e| format!("compilation failed: {e}"))?;
    match program.result() {
        Type::Bool => match program.constant_mistake() {
            Some(why) => Err(format!("program instantiation failed: {why}")),
            None => Ok(Some(program)),
        },
        _ => Err("cel expression must evaluate to a bool".to_owned()),
    }
}

fn message(env: &Environment, source: &str) -> Result<Program, String> {
    let program = env.compile(source).map_err(|e| format!("messageExpression compilation failed: {e}"))?;
    match program.result() {
        Type::String => match program.constant_mistake() {
            Some(why) => Err(format!("messageExpression instantiation failed: {why}")),
            None => Ok(program),
        },
        _ => Err("messageExpression must evaluate to a string".to_owned()),
    }
}

/// The rules of a schema and of all below it.
pub struct Rules {
    here: Option<(Arc<Decl>, Vec<Compiled>)>,
    /// The schema has rules, but no type that expressions know.
    untyped: bool,
    ty: &'static str,
    keys: Option<Vec<String>>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
}

impl Rules {
    /// The rules of a schema, given as it is used and as JSON; `None` where there are none.
    pub fn of(schema: &Schema, raw: &Value, root: bool) -> Option<Self> {
        if !schema.has_rules() {
            return None;
        }
        let root = root || schema.embedded;
        let here = if schema.rules.is_empty() { None } else { compile(raw, &schema.rules, root) };
        let below = |name: &String, inner: &Schema| {
            Self::of(inner, &raw["properties"][name], inner.embedded).map(|r| (name.clone(), r))
        };
        Some(Self {
            untyped: here.is_none() && !schema.rules.is_empty(),
            here,
            ty: schema.ty.map_or("", crate::schema::Type::name),
            keys: match &schema.list {
                Some(ListType::Map(keys)) => Some(keys.clone()),
                _ => None,
            },
            properties: schema.properties.iter().filter_map(|(n, s)| below(n, s)).collect(),
            additional: schema.like().and_then(|s| Self::of(s, &raw["additionalProperties"], s.embedded)).map(Box::new),
            items: schema.items.as_deref().and_then(|s| Self::of(s, &raw["items"], s.embedded)).map(Box::new),
        })
    }

    /// What the rules say of a value; `old` is the one before, if there is one.
    pub fn validate(&self, path: &Path, value: &Value, old: Option<&Value>) -> ErrorList {
        let mut run = Run { errors: ErrorList::new(), left: TOTAL_LIMIT, over: false };
        self.walk(path, value, old, false, &mut run);
        run.errors
    }

    /// `unchanged` says whether the nearest value above that has an old one is the same as it.
    fn walk(&self, path: &Path, value: &Value, old: Option<&Value>, unchanged: bool, run: &mut Run) {
        if value.is_null() || run.over {
            return;
        }
        let unchanged = old.map_or(unchanged, |old| old == value);
        self.expressions(path, value, old.filter(|o| !o.is_null()), unchanged, run);
        match value {
            Value::Object(map) => {
                let root = path.as_str().is_empty();
                for (key, child) in map {
                    let before = old.and_then(|o| o.get(key));
                    if let Some(rules) = &self.additional {
                        rules.walk(&path.key(key), child, before, unchanged, run);
                    }
                    if let Some(rules) = self.properties.get(key.as_str()) {
                        // Both versions of an object have the kind that they are read as.
                        let head = root && matches!(key.as_str(), "kind" | "apiVersion");
                        rules.walk(&path.child(key), child, before.filter(|_| !head), unchanged && !head, run);
                    }
                }
            }
            Value::Array(items) => {
                let Some(rules) = &self.items else { return };
                for (index, item) in items.iter().enumerate() {
                    rules.walk(&path.index(index), item, self.counterpart(old, item), unchanged, run);
                }
            }
            _ => {}
        }
    }

    /// The old item that an item goes with: lists whose items have keys alone tell.
    fn counterpart<'v>(&self, old: Option<&'v Value>, item: &Value) -> Option<&'v Value> {
        let keys = self.keys.as_ref()?;
        old?.as_array()?.iter().find(|o| keys.iter().all(|k| o.get(k) == item.get(k)))
    }

    fn expressions(&self, path: &Path, value: &Value, old: Option<&Value>, unchanged: bool, run: &mut Run) {
        let bad = |why: String| FieldError::invalid_str(path, self.ty, why);
        if self.untyped {
            let why = "rule compiler initialization error: failed to convert to declType for CEL validation rules";
            return run.errors.push(bad(why.to_owned()));
        }
        let Some((decl, rules)) = &self.here else { return };
        let me = Val::json(value, Some(&**decl));
        let before = old.map(|o| Val::json(o, Some(&**decl)));
        for compiled in rules {
            if run.left == 0 || run.over {
                run.over = true;
                run.errors.push(bad(format!("validation failed due to running out of cost budget, {NO_MORE}")));
                return;
            }
            let program = match &compiled.program {
                Ok(Some(program)) => program,
                Ok(None) => continue,
                Err(why) => {
                    run.errors.push(bad(format!("rule compile error: {why}")));
                    continue;
                }
            };
            let optional = compiled.rule.optional_old_self == Some(true);
            if compiled.uses_old && before.is_none() && !optional {
                continue;
            }
            let mut activation = Activation::new();
            activation.set("self", me.clone());
            match (&before, optional) {
                (_, true) => activation.set("oldSelf", Val::Optional(before.clone().map(Arc::new))),
                (Some(old), false) => activation.set("oldSelf", old.clone()),
                (None, false) => {}
            }
            let Some(outcome) = run.eval(program, &activation) else {
                run.errors.push(bad(format!("validation failed due to running out of cost budget, {NO_MORE}")));
                return;
            };
            let shown = compiled.shown();
            match outcome {
                Ok(Val::Bool(true)) => {}
                Ok(_) => {
                    let error = compiled.failure(path, self.ty, value, &activation, run);
                    // What is as wrong as it was is let through.
                    let new = compiled.uses_old || !unchanged;
                    run.errors.push(if new { error } else { error.ratcheted() });
                }
                Err(Error::Cost) => {
                    run.over = true;
                    let why = format!("'{}': {NO_MORE} due to call cost exceeds limit for rule: {shown}", Error::Cost);
                    run.errors.push(bad(why));
                    return;
                }
                Err(error) => {
                    let error = error.to_string();
                    run.errors.push(bad(match error.starts_with("no such overload") {
                        true => format!("'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"),
                        false => format!("{error} evaluating rule: {shown}"),
                    }));
                }
            }
        }
    }
}

/// What one validation has found and may still cost.
struct Run {
    errors: ErrorList,
    left: u64,
    over: bool,
}

impl Run {
    /// The value of a program; `None` when all that may be spent is spent.
    fn eval<'a>(&mut self, program: &Program, activation: &Activation<'a>) -> Option<Result<Val<'a>, Error>> {
        let mut budget = Budget::new(PER_CALL_LIMIT);
        let outcome = program.eval(activation, &mut budget);
        if budget.used() > self.left {
            self.over = true;
            return None;
        }
        self.left -= budget.used();
        Some(outcome)
    }
}

impl Compiled {
    /// The rule as messages name it.
    fn shown(&self) -> &str {
        let message = self.rule.message.trim();
        if message.is_empty() { self.rule.rule.trim() } else { message }
    }

    fn failure(&self, path: &Path, ty: &str, value: &Value, activation: &Activation<'_>, run: &mut Run) -> FieldError {
        let path = if self.field.is_empty() { path.clone() } else { path.child(&self.field) };
        let detail = match self.made(activation, run) {
            Some(Ok(message)) => message,
            Some(Err(why)) => return FieldError::invalid_str(&path, ty, why),
            None if self.rule.message.is_empty() => format!("failed rule: {}", self.shown()),
            None => self.shown().to_owned(),
        };
        let omit = matches!(ty, "object" | "array");
        let kind = match self.rule.reason.as_str() {
            "FieldValueForbidden" => return FieldError::forbidden(&path, detail),
            "FieldValueRequired" => return FieldError::required(&path, detail),
            "FieldValueDuplicate" => ErrorKind::Duplicate,
            _ => ErrorKind::Invalid,
        };
        let detail = if kind == ErrorKind::Duplicate { String::new() } else { detail };
        let value = if omit { String::new() } else { value.to_string() };
        FieldError { kind, path: path.as_str().to_owned(), value, detail, covered: false, as_is: false }
    }

    /// The message that an expression makes; `None` where there is none or it makes nothing of use.
    fn made(&self, activation: &Activation<'_>, run: &mut Run) -> Option<Result<String, String>> {
        let Some(Ok(program)) = &self.message else { return None };
        let source = &self.rule.message_expression;
        let spent = "messageExpression evaluation failed due to running out of cost budget";
        match run.eval(program, activation) {
            None => Some(Err(format!("{spent}, {NO_MORE}"))),
            Some(Err(Error::Cost)) => {
                run.over = true;
                Some(Err(format!("{NO_MORE} due to call cost exceeds limit for messageExpression: {source:?}")))
            }
            Some(Ok(value)) => {
                let made = value.to_json()?.as_str()?.trim().to_owned();
                (!made.is_empty() && made.len() <= MESSAGE && !made.contains('\n')).then_some(Ok(made))
            }
            Some(Err(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn errors(raw: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
        let schema = Schema::parse(raw).unwrap();
        let rules = Rules::of(&schema, raw, true).unwrap();
        rules.validate(&Path::root(), value, old).iter().map(ToString::to_string).collect()
    }

    fn spec(properties: Value, rules: Value) -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties, "x-kubernetes-validations": rules}}})
    }

    #[test]
    fn rules_say_what_is_wrong_as_stock_says_it() {
        let integers = json!({"a": {"type": "integer"}, "b": {"type": "integer"}});
        let table = [
            (json!([{"rule": "self.a <= self.b"}]), "spec: Invalid value: failed rule: self.a <= self.b"),
            (
                json!([{"rule": "self.a <= self.b", "message": "a must not be above b"}]),
                "spec: Invalid value: a must not be above b",
            ),
            (
                json!([{"rule": "self.a <= self.b", "messageExpression": "'a is ' + string(self.a)"}]),
                "spec: Invalid value: a is 5",
            ),
            (
                json!([{"rule": "self.a <= self.b", "reason": "FieldValueForbidden", "fieldPath": ".a", "message": "no"}]),
                "spec.a: Forbidden: no",
            ),
            (
                json!([{"rule": "self.a / (self.b - self.b) == 1"}]),
                "spec: Invalid value: \"object\": division by zero evaluating rule: self.a / (self.b - self.b) == 1",
            ),
            (json!([{"rule": "self.a > 1"}]), ""),
        ];
        for (rules, want) in table {
            let found = errors(&spec(integers.clone(), rules), &json!({"spec": {"a": 5, "b": 1}}), None);
            assert_eq!(found.join("; "), want);
        }
    }

    #[test]
    fn rules_about_changes_see_the_old_value() {
        let raw = spec(
            json!({"a": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self >= oldSelf", "message": "only up"},
            {"rule": "!oldSelf.hasValue() || self < 100", "optionalOldSelf": true, "message": "small"}]}}),
            json!([]),
        );
        let of = |a: i64| json!({"spec": {"a": a}});
        assert!(errors(&raw, &of(5), None).is_empty());
        assert!(errors(&raw, &of(6), Some(&of(5))).is_empty());
        assert_eq!(errors(&raw, &of(4), Some(&of(5))), ["spec.a: Invalid value: 4: only up"]);
        assert_eq!(errors(&raw, &of(200), Some(&of(5))), ["spec.a: Invalid value: 200: small"]);
    }

    #[test]
    fn what_was_wrong_before_may_stay() {
        let raw = spec(
            json!({"a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]}, "b": {"type": "integer"}}),
            json!([]),
        );
        let old = json!({"spec": {"a": 9, "b": 1}});
        let schema = Schema::parse(&raw).unwrap();
        let rules = Rules::of(&schema, &raw, true).unwrap();
        let told = rules.validate(&Path::root(), &json!({"spec": {"a": 9, "b": 2}}), Some(&old));
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].kind, &*told[0].detail),
            (ErrorKind::Ratcheted, "spec.a: Invalid value: 9: failed rule: self < 5")
        );
        assert_eq!(
            errors(&raw, &json!({"spec": {"a": 8, "b": 1}}), Some(&old)),
            ["spec.a: Invalid value: 8: failed rule: self < 5"]
        );
    }

    #[test]
    fn costs_are_bounded() {
        let raw = spec(
            json!({"a": {"type": "array", "items": {"type": "integer"}}}),
            json!([{"rule": "self.a.all(x, self.a.all(y, x == y || x != y))"}]),
        );
        let many: Vec<i64> = (0..2000).collect();
        let found = errors(&raw, &json!({"spec": {"a": many}}), None);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("no further validation rules will be run due to call cost exceeds limit"),
            "{found:?}"
        );
    }
}
