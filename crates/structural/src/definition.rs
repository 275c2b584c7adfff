//! Whether a schema may stand in a definition: what OpenAPI keywords it has, its defaults, its rules and their costs.

use crate::rules::{self, Compiled};
use crate::schema::{Rule, Schema};
use crate::{Rules, check, embedded, paths, prune, shown, validate};
use ironclad_api::field::ErrorKind;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_cel::MAX_REQUEST;
use ironclad_json::{Value, json};

/// Most that one rule may be estimated to cost.
const RULE_COST: u64 = 10_000_000;
/// Most that the rules of a schema may be estimated to cost together.
const TOTAL_COST: u64 = 100_000_000;
const HEADS: [&str; 3] = ["metadata", "kind", "apiVersion"];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";

/// What is wrong with the schema of a version, given as JSON. `status` says whether status is a subresource;
/// `unchanged` that the schema was accepted before, whatever its rules cost.
pub fn validate(path: &Path, raw: &Value, status: bool, unchanged: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    if status {
        errors.extend(root_keys(path, raw));
    }
    if raw["nullable"] == true {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let (parsed, mut ready) = (Schema::parse(raw), false);
    if let Ok(schema) = &parsed {
        let wrong = check::structural(path, raw);
        let wrong = if wrong.is_empty() { defaults(path, schema, raw) } else { wrong };
        ready = wrong.is_empty();
        errors.extend(wrong);
    }
    let mut walk = Walk { errors: Vec::new(), rules: Vec::new(), total: 0, expensive: Vec::new(), unchanged };
    let scope = Scope { at_root: true, ruled: ready, cardinality: Some(1), ..Scope::default() };
    walk.schema(path, raw, &scope);
    errors.append(&mut walk.errors);
    errors.append(&mut walk.rules);
    if let (true, Err(why)) = (errors.is_empty(), parsed) {
        errors.push(FieldError::invalid_str(path, "", why));
    }
    if walk.total > TOTAL_COST {
        for at in &walk.expensive {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(&at.1, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, too_expensive(what, walk.total, TOTAL_COST)));
    }
    errors
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        f if f > 100.0 => "more than 100x".to_owned(),
        f if f < 1.5 => format!("{f:.6}x"),
        f => format!("{f:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Whether a keyword is set to something.
fn is_set(value: &Value) -> bool {
    !(value.is_null() || *value == json!(false) || *value == json!("") || *value == json!([]) || *value == json!({}))
}

/// What may stand at the root beside a status that is checked alone.
fn root_keys(path: &Path, raw: &Value) -> Option<FieldError> {
    let ty = raw["type"].as_str().unwrap_or_default();
    if !ty.is_empty() && ty != "object" {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return Some(FieldError::invalid_str(&path.child("type"), ty, why));
    }
    let other = |key: &str| {
        !matches!(
            key,
            "x-kubernetes-preserve-unknown-fields"
                | "x-kubernetes-validations"
                | "exclusiveMaximum"
                | "exclusiveMinimum"
        ) && (key.starts_with("x-kubernetes-")
            || matches!(
                key,
                "allOf"
                    | "anyOf"
                    | "oneOf"
                    | "not"
                    | "enum"
                    | "default"
                    | "nullable"
                    | "additionalProperties"
                    | "maxProperties"
                    | "minProperties"
            ))
    };
    let odd = raw.as_object().into_iter().flatten().any(|(k, v)| is_set(v) && other(k));
    let why =
        format!("only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled");
    odd.then(|| FieldError::invalid_shown(path, shown::schema(raw), why))
}

/// Defaults must be values of their schemas.
fn defaults(path: &Path, schema: &Schema, raw: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    default_at(path, schema, raw, true, &mut errors);
    errors
}

fn default_at(path: &Path, schema: &Schema, raw: &Value, root: bool, errors: &mut ErrorList) {
    if let Some(default) = &schema.default {
        let at = path.child("default");
        let mut pruned = default.clone();
        if !prune::prune(&mut pruned, schema, schema.embedded).is_empty() {
            errors.push(FieldError::invalid(&at, default, "must not have unknown fields"));
        }
        errors.extend(default_value(&at, schema, raw, default, root));
    }
    if let Some(items) = schema.items.as_deref() {
        default_at(&path.child("items"), items, &raw["items"], false, errors);
    }
    for (name, property) in &schema.properties {
        let head = (root || schema.embedded) && HEADS.contains(&name.as_str());
        if !head {
            let at = path.child("properties").key(name);
            default_at(&at, property, &raw["properties"][name], false, errors);
        }
    }
}

fn default_value(at: &Path, schema: &Schema, raw: &Value, default: &Value, root: bool) -> ErrorList {
    if let Err(error) = embedded::coerce(at, &mut default.clone(), schema, schema.embedded, false) {
        return vec![error];
    }
    let mut errors = embedded::validate(at, default, schema, schema.embedded);
    if errors.is_empty() {
        errors.extend(odd_type(at, raw, default));
    }
    if errors.is_empty() {
        errors = validate::validate(at, schema, default, None);
    }
    if errors.is_empty()
        && let Some(rules) = Rules::of(schema, raw, root)
    {
        // Both as what stays and as what comes to be.
        errors = rules.validate(at, default, Some(default));
        errors.retain(|e| e.kind != ErrorKind::Ratcheted);
        if errors.is_empty() {
            errors = rules.validate(at, default, None);
        }
    }
    errors
}

/// A default is of no type that does not exist.
fn odd_type(at: &Path, raw: &Value, default: &Value) -> Option<FieldError> {
    let ty = raw["type"].as_str().filter(|ty| !ty.is_empty() && !TYPES.contains(ty))?;
    let (wanted, has) = validate::mistaken(&[ty], raw["format"].as_str().unwrap_or_default(), default)?;
    Some(FieldError::type_invalid(at, &json!(has), format!(" in body must be of type {wanted}: {has:?}")))
}

/// What is known of the place of a schema.
#[derive(Clone, Default)]
struct Scope {
    at_root: bool,
    in_meta: bool,
    /// Why no default may stand here.
    no_defaults: Option<String>,
    /// The nearest place above whose values have no old ones.
    uncorrelated: Option<Path>,
    /// Whether rules are looked at.
    ruled: bool,
    /// How often values of this schema can stand in an object, if that is bounded.
    cardinality: Option<u64>,
}

struct Walk {
    errors: ErrorList,
    rules: ErrorList,
    total: u64,
    expensive: Vec<(u64, Path)>,
    unchanged: bool,
}

impl Walk {
    fn schema(&mut self, path: &Path, raw: &Value, scope: &Scope) {
        if !raw.is_object() {
            return;
        }
        let before = self.errors.len();
        self.keywords(path, raw, scope);
        self.below(path, raw, scope);
        self.lists(path, raw);
        self.rules_here(path, raw, scope, before);
    }

    fn keywords(&mut self, path: &Path, raw: &Value, scope: &Scope) {
        let ty = raw["type"].as_str().unwrap_or_default();
        let mut forbid = |key: &str, why: &str| self.errors.push(FieldError::forbidden(&path.child(key), why));
        if let (Some(reason), true) = (&scope.no_defaults, !raw["default"].is_null()) {
            forbid("default", &format!("must not be set {reason}"));
        }
        for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if is_set(&raw[key]) {
                forbid(key, &format!("{key} is not supported"));
            }
        }
        if ty == "null" {
            forbid("type", "type cannot be set to null, use nullable as an alternative");
        }
        if raw["items"].is_array() {
            forbid("items", "items must be a schema object and not an array");
        }
        if scope.in_meta && raw["x-kubernetes-embedded-resource"] == true {
            forbid("x-kubernetes-embedded-resource", "must not be used inside of resource meta");
        }
        if raw["uniqueItems"] == true {
            forbid("uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
        }
        let additional = &raw["additionalProperties"];
        if (additional.is_object() || *additional == json!(false)) && is_set(&raw["properties"]) {
            forbid("additionalProperties", "additionalProperties and properties are mutual exclusive");
        }
        if !ty.is_empty() && !TYPES.contains(&ty) {
            self.errors.push(FieldError::not_supported(&path.child("type"), &json!(ty), &TYPES));
        }
        if raw["x-kubernetes-preserve-unknown-fields"] == json!(false) {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            self.errors.push(FieldError::invalid(&at, &json!(false), "must be true or undefined"));
        }
    }

    fn below(&mut self, path: &Path, raw: &Value, scope: &Scope) {
        let inner = Scope { at_root: false, cardinality: child_cardinality(raw, scope.cardinality), ..scope.clone() };
        if raw["additionalProperties"].is_object() {
            let reason = "inside additionalProperties applying to object metadata".to_owned();
            let no_defaults = if scope.in_meta { Some(reason) } else { inner.no_defaults.clone() };
            let scope = Scope { no_defaults, ..inner.clone() };
            self.schema(&path.child("additionalProperties"), &raw["additionalProperties"], &scope);
        }
        for (name, property) in raw["properties"].as_object().into_iter().flatten() {
            let head = HEADS.contains(&name.as_str());
            let in_meta = head && (scope.at_root || raw["x-kubernetes-embedded-resource"] == true) || inner.in_meta;
            let top = (head && scope.at_root).then(|| format!("in top-level {name}"));
            let scope = Scope { in_meta, no_defaults: top.or_else(|| inner.no_defaults.clone()), ..inner.clone() };
            self.schema(&path.child("properties").key(name), property, &scope);
        }
        let junctor = Scope { ruled: false, at_root: false, ..scope.clone() };
        self.schema(&path.child("not"), &raw["not"], &junctor);
        for key in ["allOf", "oneOf", "anyOf"] {
            for (i, one) in raw[key].as_array().into_iter().flatten().enumerate() {
                self.schema(&path.child(key).index(i), one, &junctor);
            }
        }
        if raw["items"].is_object() {
            let keyed = raw["x-kubernetes-list-type"] == "map";
            let uncorrelated = inner.uncorrelated.clone().or_else(|| (!keyed).then(|| path.clone()));
            self.schema(&path.child("items"), &raw["items"], &Scope { uncorrelated, ..inner });
        }
    }

    fn lists(&mut self, path: &Path, raw: &Value) {
        let ty = raw["type"].as_str().unwrap_or_default();
        for (key, wanted, allowed) in [
            ("x-kubernetes-map-type", "object", &["atomic", "granular"][..]),
            ("x-kubernetes-list-type", "array", &["atomic", "set", "map"][..]),
        ] {
            let Some(given) = raw[key].as_str() else { continue };
            let at = path.child("type");
            let why = format!("must be {wanted} if {key} is specified");
            if ty.is_empty() {
                self.errors.push(FieldError::required(&at, why));
            } else if ty != wanted {
                self.errors.push(FieldError::invalid_str(&at, ty, why));
            }
            if !allowed.contains(&given) {
                self.errors.push(FieldError::not_supported(&path.child(key), &json!(given), allowed));
            }
        }
        self.sets(path, raw);
        self.maps(path, raw);
    }

    fn sets(&mut self, path: &Path, raw: &Value) {
        let items = &raw["items"];
        if raw["x-kubernetes-list-type"] == "set" && raw["type"] == "array" && items.is_object() {
            let (key, given) = match items["type"].as_str() {
                Some("array") => ("x-kubernetes-list-type", &items["x-kubernetes-list-type"]),
                Some("object") => ("x-kubernetes-map-type", &items["x-kubernetes-map-type"]),
                _ => return,
            };
            let implied = key == "x-kubernetes-list-type" && given.is_null();
            if *given != "atomic" && !implied {
                let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
                self.errors.push(FieldError::invalid(
                    &path.child("items").child(key),
                    &items["x-kubernetes-list-type"],
                    why,
                ));
            }
        }
    }

    fn maps(&mut self, path: &Path, raw: &Value) {
        const KEYS: &str = "x-kubernetes-list-map-keys";
        let (given, items) = (raw["x-kubernetes-list-type"].as_str(), &raw["items"]);
        let names: Vec<&str> = raw[KEYS].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let at = path.child("items");
        let mut errors = ErrorList::new();
        if !names.is_empty() && given != Some("map") {
            let (at, why) = (path.child("x-kubernetes-list-type"), format!("must be map if {KEYS} is non-empty"));
            errors.push(
                given.map_or_else(|| FieldError::required(&at, &*why), |g| FieldError::invalid_str(&at, g, &*why)),
            );
        }
        if given == Some("map") {
            if names.is_empty() {
                errors.push(FieldError::required(
                    &path.child(KEYS),
                    "must not be empty if x-kubernetes-list-type is map",
                ));
            }
            if items.is_null() {
                errors.push(FieldError::required(&at, "must have a schema if x-kubernetes-list-type is map"));
            } else if items["type"] != "object" {
                let ty = items["type"].as_str().unwrap_or_default();
                let why = "must be object if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid_str(&at.child("type"), ty, why));
            } else {
                keys(path, raw, &names, &mut errors);
            }
        }
        if matches!(given, Some("set" | "map")) && items["nullable"] == true {
            let why = format!("cannot be nullable when x-kubernetes-list-type is {}", given.unwrap_or_default());
            errors.push(FieldError::forbidden(&at.child("nullable"), why));
        }
        self.errors.append(&mut errors);
    }

    fn rules_here(&mut self, path: &Path, raw: &Value, scope: &Scope, before: usize) {
        let at = path.child("x-kubernetes-validations");
        let Some(list) = raw["x-kubernetes-validations"].as_array().filter(|l| !l.is_empty()) else { return };
        for (i, rule) in list.iter().enumerate() {
            texts(&at.index(i), raw, rule, &mut self.errors);
        }
        // What is wrong with the schema would only be said again, and less clearly.
        if !scope.ruled || self.errors.len() != before {
            return;
        }
        let Ok(schema) = Schema::parse(raw) else { return };
        let root = scope.at_root || schema.embedded;
        let Some((decl, compiled)) = rules::compile(raw, &schema.rules, root) else {
            let why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            return self.rules.push(FieldError::internal(&at, why));
        };
        let often = scope.cardinality.unwrap_or(MAX_REQUEST / (decl.min_bytes + 1));
        for (i, (compiled, rule)) in compiled.iter().zip(&schema.rules).enumerate() {
            self.rule(&at.index(i), compiled, rule, &list[i], often, scope);
        }
    }

    fn rule(&mut self, at: &Path, compiled: &Compiled, rule: &Rule, raw: &Value, often: u64, scope: &Scope) {
        match &compiled.program {
            Ok(Some(program)) => {
                let cost = program.cost().max.saturating_mul(often);
                self.cost(&at.child("rule"), "estimated rule cost", cost);
            }
            Ok(None) => {}
            Err(why) => self.rules.push(FieldError::invalid_shown(&at.child("rule"), shown::rule(raw), why.clone())),
        }
        match &compiled.message {
            Some(Ok(program)) => {
                self.cost(&at.child("messageExpression"), "estimated messageExpression cost", program.cost().max)
            }
            Some(Err(why)) if compiled.program.is_ok() => {
                self.rules.push(FieldError::invalid_shown(
                    &at.child("messageExpression"),
                    shown::rule(raw),
                    why.clone(),
                ));
            }
            _ => {}
        }
        if compiled.uses_old {
            if let Some(above) = &scope.uncorrelated {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {above}");
                self.rules.push(FieldError::invalid_str(&at.child("rule"), &rule.rule, why));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let why = "may not be set if oldSelf is not used in rule";
            self.rules.push(FieldError::invalid(&at.child("optionalOldSelf"), &json!(optional), why));
        }
    }

    fn cost(&mut self, at: &Path, what: &str, cost: u64) {
        if cost > RULE_COST && !self.unchanged {
            self.rules.push(FieldError::forbidden(at, too_expensive(what, cost, RULE_COST)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= TOTAL_COST / 100 {
            self.expensive.push((cost, at.clone()));
            self.expensive.sort_by_key(|e| std::cmp::Reverse(e.0));
            self.expensive.truncate(4);
        }
    }
}

/// How often the values below can stand in an object.
fn child_cardinality(raw: &Value, here: Option<u64>) -> Option<u64> {
    let number = |key: &str| raw[key].as_i64().map(|n| n.max(0) as u64);
    let most = match raw["type"].as_str() {
        Some("object") if !raw["additionalProperties"].is_null() => number("maxProperties"),
        Some("array") => number("maxItems"),
        _ => Some(1),
    };
    Some(here?.saturating_mul(most?))
}

/// The keys by which items of a list are told apart.
fn keys(path: &Path, raw: &Value, names: &[&str], errors: &mut ErrorList) {
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let items = &raw["items"];
    let required = |name: &str| items["required"].as_array().into_iter().flatten().any(|r| r == name);
    for (i, name) in names.iter().enumerate() {
        let at = path.child("items").child("properties").key(name);
        match items["properties"].get(name) {
            None => {
                let why = "entries must all be names of item properties";
                errors.push(FieldError::invalid(&path.child(KEYS), &raw[KEYS], why));
            }
            Some(key) => {
                if matches!(key["type"].as_str(), Some("array" | "object")) {
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.push(FieldError::invalid(&at.child("type"), &items["type"], why));
                }
                if !required(name) && key["default"].is_null() {
                    let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    errors.push(FieldError::required(&at.child("default"), why));
                }
                if key["nullable"] == true {
                    let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    errors.push(FieldError::forbidden(&at.child("nullable"), why));
                }
            }
        }
        if names[..i].contains(name) {
            errors.push(FieldError::invalid(&path.child(KEYS), &raw[KEYS], "must not contain duplicate entries"));
        }
    }
}

/// The texts of a rule.
fn texts(at: &Path, schema: &Value, raw: &Value, errors: &mut ErrorList) {
    let text = |key: &str| raw[key].as_str().unwrap_or_default();
    let broken = |text: &str| text.contains(['\n', '\r']);
    let (rule, message, field) = (text("rule").trim(), text("message"), text("fieldPath"));
    let invalid = |key: &str, why: &str| FieldError::invalid_str(&at.child(key), text(key), why);
    if rule.is_empty() {
        errors.push(FieldError::required(&at.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.push(invalid("message", "must be non-empty if specified"));
    } else if broken(message.trim()) {
        errors.push(invalid("message", "must not contain line breaks"));
    } else if broken(rule) && message.trim().is_empty() {
        errors
            .push(FieldError::required(&at.child("message"), "message must be specified if rule contains line breaks"));
    }
    let expression = text("messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        let why = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&at.child("messageExpression"), why));
    }
    let reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if let Some(reason) = raw["reason"].as_str().filter(|r| !reasons.contains(r)) {
        errors.push(FieldError::not_supported(&at.child("reason"), &json!(reason), &reasons));
    }
    if !field.is_empty() {
        if field.trim().is_empty() {
            errors.push(invalid("fieldPath", "must be non-empty if specified"));
        }
        if broken(field) {
            errors.push(invalid("fieldPath", "must not contain line breaks"));
        }
        if paths::valid(field, schema, true).is_err() {
            errors.push(invalid("fieldPath", "must be a valid path"));
        }
    }
}

#[cfg(test)]
mod tests;
