//! What a typed server does to an object that comes in: refuses wrong types, drops and names unknown fields, and brings
//! values into their canonical form.

use crate::bundle::{Bundle, Field, Scalar, Shape, TypeId};
use crate::empties::{Empties, is_empty};
use crate::moment;
use crate::proto::wire::wire;
use ironclad_api::quantity::Quantity;
use ironclad_api::shape::sort;
use ironclad_json::{Fate, Map, Text, Value, json};
use std::fmt::Write;

/// What was noticed in an object whose types are right.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Paths of fields that the type does not have; they were removed.
    pub unknown: Vec<String>,
    /// What was sent empty and left out.
    pub empties: Empties,
}

/// How many unknown fields are named.
const NAMED: usize = 100;

/// Checks and normalizes an object of type `id` in place. The error is worded as Go's decoder words it.
pub fn object(bundle: &Bundle, id: TypeId, value: &mut Value) -> Result<Noticed, String> {
    Walk::new(bundle).run(&Shape::Object(id), value, None)
}

/// As [`object`] for what became of an object that was checked before: what both share is right.
pub fn changed(bundle: &Bundle, id: TypeId, value: &mut Value, before: &Value) -> Result<Noticed, String> {
    Walk::new(bundle).run(&Shape::Object(id), value, Some(before))
}

/// As [`changed`], with errors worded as the converter words them that Go has for strategic merge patches.
pub fn patched(bundle: &Bundle, id: TypeId, value: &mut Value, before: &Value) -> Result<Noticed, String> {
    Walk { converter: true, ..Walk::new(bundle) }.run(&Shape::Object(id), value, Some(before))
}

/// Checks and normalizes a configuration to be applied: nothing is put in that it does not say.
pub fn config(bundle: &Bundle, shape: &Shape, value: &mut Value) -> Result<Noticed, String> {
    Walk { complete: false, ..Walk::new(bundle) }.run(shape, value, None)
}

/// Checks and normalizes a value of a shape.
pub fn value(bundle: &Bundle, shape: &Shape, value: &mut Value) -> Result<Noticed, String> {
    Walk::new(bundle).run(shape, value, None)
}

struct Walk<'a> {
    bundle: &'a Bundle,
    noticed: Noticed,
    /// Whether something was sent empty.
    empties: bool,
    /// The type of the whole, where it is an object.
    root: Option<TypeId>,
    /// Names of the fields on the way, without indexes, as Go's messages have them.
    fields: Vec<Text>,
    /// Whether what a typed server always writes is put in.
    complete: bool,
    /// Whether errors are those of Go's converter, not of its JSON decoder.
    converter: bool,
}

impl<'a> Walk<'a> {
    fn new(bundle: &'a Bundle) -> Self {
        Self {
            bundle,
            noticed: Noticed::default(),
            empties: false,
            root: None,
            fields: Vec::new(),
            complete: true,
            converter: false,
        }
    }
}

/// Go reads base64 whose last bits say nothing.
const LENIENT: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::general_purpose::PAD.with_decode_allow_trailing_bits(true),
);

/// Another value, or `None` for the one that is there.
type Changed = Option<Value>;

impl Walk<'_> {
    fn run(mut self, shape: &Shape, value: &mut Value, known: Option<&Value>) -> Result<Noticed, String> {
        let of = match shape {
            Shape::Object(id) => {
                self.root = Some(*id);
                self.bundle.get(*id).definition.rsplit('.').next().unwrap_or_default()
            }
            _ => "",
        };
        if let Some(changed) = self.shape(shape, value, known, &mut String::new(), of)? {
            let sent = std::mem::replace(value, changed);
            if self.empties {
                self.noticed.empties = Empties::of(sent);
            }
        }
        Ok(self.noticed)
    }

    fn object(&mut self, id: TypeId, map: &Map, known: Option<&Value>, path: &mut String) -> Result<Changed, String> {
        let ty = self.bundle.get(id);
        let name = ty.definition.rsplit('.').next().unwrap_or_default();
        let mut out = map.clone();
        out.rewrite(|key, value| {
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
            // Every whole object says what it is.
            let head = ty.gvk.is_some() && matches!(key.as_str(), "apiVersion" | "kind");
            let fate = match ty.field(key) {
                None if head || ty.open => Fate::Keep,
                None => {
                    if self.noticed.unknown.len() < NAMED {
                        self.noticed.unknown.push(path.clone());
                    }
                    Fate::Remove
                }
                Some(field) if is_left_out(field, value, path) => {
                    self.empties |= !value.is_null();
                    Fate::Remove
                }
                Some(field) if self.complete && is_zero(field, value) => Fate::Remove,
                Some(field) => {
                    self.fields.push(key.clone());
                    let changed = self.shape(&field.shape, value, known.and_then(|k| k.get(key)), path, name)?;
                    self.fields.pop();
                    changed.into()
                }
            };
            path.truncate(length);
            Ok::<_, String>(fate)
        })?;
        if self.complete {
            self.bundle.complete(id, &mut out);
        }
        Ok((!out.is_same(map)).then_some(Value::Object(out)))
    }

    fn shape(
        &mut self,
        shape: &Shape,
        value: &Value,
        known: Option<&Value>,
        path: &mut String,
        of: &str,
    ) -> Result<Changed, String> {
        if known.is_some_and(|known| known.is_same(value)) {
            return Ok(None);
        }
        match (shape, value) {
            (Shape::Object(id), Value::Object(map)) => self.object(*id, map, known, path),
            (Shape::Object(id), _) => Err(self.wrong(value, of, &go_object(&self.bundle.get(*id).definition))),
            (Shape::List(item, _), Value::Array(list)) => {
                let mut out = list.clone();
                let changed = out.rewrite(|index, value| {
                    let length = path.len();
                    // Writing to a text cannot fail.
                    let _ = write!(path, "[{index}]");
                    let changed = self.item(item, value, known.and_then(|k| k.get(index)), path, of)?;
                    path.truncate(length);
                    Ok::<_, String>(changed)
                })?;
                Ok(changed.then_some(Value::Array(out)))
            }
            (Shape::Map(item, _), Value::Object(map)) => {
                let mut out = map.clone();
                let changed = out.rewrite(|key, value| {
                    let length = path.len();
                    path.push('.');
                    path.push_str(key);
                    let changed = self.item(item, value, known.and_then(|k| k.get(key)), path, of)?;
                    path.truncate(length);
                    Ok::<_, String>(changed.into())
                })?;
                Ok(changed.then_some(Value::Object(out)))
            }
            (Shape::List(..) | Shape::Map(..), _) => Err(self.wrong(value, of, &self.go(shape))),
            (Shape::Scalar(scalar), _) => self.scalar(*scalar, value, of),
        }
    }

    /// An item of a list or a map, which may be null.
    fn item(
        &mut self,
        shape: &Shape,
        value: &Value,
        known: Option<&Value>,
        path: &mut String,
        of: &str,
    ) -> Result<Changed, String> {
        if !value.is_null() {
            return self.shape(shape, value, known, path, of);
        }
        let mut filled = Value::Null;
        zero(shape, &mut filled);
        if filled.is_null() {
            return Ok(None);
        }
        let changed = self.shape(shape, &filled, None, path, of)?;
        Ok(changed.or(Some(filled)))
    }

    fn scalar(&self, scalar: Scalar, value: &Value, of: &str) -> Result<Changed, String> {
        let other = |new: Value| (new != *value).then_some(new);
        let brought = |form: &dyn Fn(&mut Value) -> Result<(), String>| {
            let mut new = value.clone();
            form(&mut new).map(|()| other(new))
        };
        match (scalar, value) {
            (Scalar::Any | Scalar::Deduced, _)
            | (Scalar::String, Value::String(_))
            | (Scalar::Bool, Value::Bool(_)) => Ok(None),
            (Scalar::Double, Value::Number(_)) => Ok(None),
            // Go turns one number into the other, whatever is lost.
            (Scalar::Int32, Value::Number(n)) if self.converter => match n.as_i64().or_else(|| whole(n)) {
                Some(i) => Ok(other((i as i32).into())),
                None => Err(self.wrong_text(&format!("number {n}"), of, "int32")),
            },
            (Scalar::Int32 | Scalar::Int64, Value::Number(n)) => {
                match whole(n).filter(|_| self.converter || !n.is_f64() || is_minus_zero(n)) {
                    Some(i) if scalar == Scalar::Int64 || i32::try_from(i).is_ok() => Ok(other(i.into())),
                    _ => Err(self.wrong_text(&format!("number {n}"), of, go_scalar(scalar))),
                }
            }
            (Scalar::IntOrString, Value::Number(n)) => {
                let whole = whole(n).ok_or_else(|| self.wrong_text(&format!("number {n}"), of, "int32"))?;
                Ok(other(whole.into()))
            }
            (Scalar::IntOrString, Value::String(_)) => Ok(None),
            (Scalar::Quantity, Value::Number(n)) => brought(&|v| canonical(&n.to_string(), v)),
            (Scalar::Quantity, Value::String(s)) => brought(&|v| canonical(s, v)),
            (Scalar::Time, Value::String(s)) => brought(&|v| time(s, v, false)),
            (Scalar::MicroTime, Value::String(s)) => brought(&|v| time(s, v, true)),
            (Scalar::Bytes, Value::String(s)) => {
                use base64::Engine;
                let decoded = LENIENT.decode(s.replace(['\n', '\r'], ""));
                let bytes = decoded.map_err(|_| format!("illegal base64 data at input byte {}", illegal(s)))?;
                Ok(other(base64::engine::general_purpose::STANDARD.encode(bytes).into()))
            }
            _ => Err(self.wrong(value, of, go_scalar(scalar))),
        }
    }

    fn wrong(&self, value: &Value, of: &str, want: &str) -> String {
        self.wrong_text(sort(value), of, want)
    }

    fn wrong_text(&self, got: &str, of: &str, want: &str) -> String {
        if self.converter {
            let source = match got {
                "array" => "slice",
                "object" => "map",
                "number" => "int64",
                other => match other.strip_prefix("number ") {
                    Some(number) if number.contains(['.', 'e', 'E']) => "float64",
                    Some(_) => "int64",
                    None => other,
                },
            };
            return match want {
                w if w.starts_with("map[") => format!("cannot restore map from {source}"),
                w if w.starts_with("[]") => format!("cannot restore slice from {source}"),
                w if w.contains('.') => format!("cannot restore struct from: {source}"),
                // Go would turn one into the other.
                "int32" | "int64" if source == "float64" => format!("cannot convert {source} to {want}"),
                "string" if source == "int64" => format!("cannot convert {source} to {want}"),
                w => format!("unrecognized type: {w}"),
            };
        }
        if self.fields.is_empty() {
            return format!("json: cannot unmarshal {got} into Go value of type {want}");
        }
        let (path, ty) = self.go_path();
        let path = path.join(".");
        let field = self.fields.last().map_or("", |f| f.as_str());
        let want = match ty.and_then(|ty| wire().named(ty, field)) {
            Some(named) if named.whole == want.starts_with("map[") => named.name.to_string(),
            Some(named) if !named.whole && want.starts_with("[]") => format!("[]{}", named.name),
            _ => want.to_owned(),
        };
        format!("json: cannot unmarshal {got} into Go struct field {of}.{path} of type {want}")
    }

    /// The fields on the way as Go names them: with the types that stand in others without a name. And the type in which
    /// the last of them stands.
    fn go_path(&self) -> (Vec<&str>, Option<&str>) {
        let mut path = Vec::with_capacity(self.fields.len());
        let (mut at, mut last) = (self.root, None);
        for name in &self.fields {
            let ty = at.map(|id| self.bundle.get(id));
            last = ty.map(|ty| ty.definition.as_str());
            if let Some(ty) = ty {
                path.extend(wire().inside(&ty.definition, name));
            }
            path.push(name.as_str());
            let mut shape = ty.and_then(|ty| ty.field(name)).map(|field| &field.shape);
            while let Some(Shape::List(inner, _) | Shape::Map(inner, _)) = shape {
                shape = Some(inner);
            }
            at = match shape {
                Some(Shape::Object(id)) => Some(*id),
                _ => None,
            };
        }
        (path, last)
    }

    fn go(&self, shape: &Shape) -> String {
        match shape {
            Shape::Scalar(s) => go_scalar(*s).to_owned(),
            Shape::Object(id) => go_object(&self.bundle.get(*id).definition),
            Shape::List(item, _) => format!("[]{}", self.go(item)),
            Shape::Map(item, _) => format!("map[string]{}", self.go(item)),
        }
    }
}

/// What Go leaves out when it encodes: nothing, and empty lists and maps of optional fields.
fn is_left_out(field: &Field, value: &Value, path: &str) -> bool {
    match &field.shape {
        Shape::Scalar(Scalar::Deduced) => false,
        // Who sends an empty list of managers asks to forget them, and who sends one of scaling policies has none.
        Shape::List(..) if matches!(path, "metadata.managedFields" | "managedFields") || &*field.name == "policies" => {
            value.is_null()
        }
        shape => value.is_null() || is_empty(shape, value),
    }
}

/// Whether a plain value is one that Go leaves out when it encodes.
fn is_zero(field: &Field, value: &Value) -> bool {
    field.sparse
        && match value {
            Value::String(s) => s.is_empty() && matches!(field.shape, Shape::Scalar(Scalar::String | Scalar::Bytes)),
            Value::Bool(b) => !b && field.shape == Shape::Scalar(Scalar::Bool),
            Value::Number(n) => {
                n.as_f64() == Some(0.0)
                    && matches!(field.shape, Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double))
            }
            _ => false,
        }
}

/// The bare name of a type, as Go knows it.
pub(crate) fn go_name(definition: &str) -> &str {
    definition.rsplit('.').next().unwrap_or_default()
}

fn go_object(definition: &str) -> String {
    let mut parts = definition.rsplit('.');
    let name = parts.next().unwrap_or_default();
    format!("{}.{name}", parts.next().unwrap_or_default())
}

fn go_scalar(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Double => "float64",
        Scalar::Bool => "bool",
        Scalar::Bytes => "[]uint8",
        Scalar::String | Scalar::Time | Scalar::MicroTime | Scalar::Quantity | Scalar::IntOrString => "string",
        Scalar::Any | Scalar::Deduced => "string",
    }
}

/// What Go has in the place of a null item.
fn zero(shape: &Shape, value: &mut Value) {
    *value = match shape {
        Shape::Object(_) | Shape::Map(..) => json!({}),
        Shape::List(..) => json!([]),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => json!(0),
        Shape::Scalar(Scalar::Bool) => json!(false),
        Shape::Scalar(Scalar::Any | Scalar::Deduced | Scalar::Time | Scalar::MicroTime) => Value::Null,
        Shape::Scalar(Scalar::Quantity) => json!("0"),
        Shape::Scalar(_) => json!(""),
    };
}

/// Where Go stops reading base64 that is wrong: at the first sign that cannot stand there, or behind what is there.
fn illegal(text: &str) -> usize {
    let is_break = |b: u8| b == b'\n' || b == b'\r';
    let is_sign = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let mut signs = 0;
    let mut start = 0;
    let mut bytes = text.bytes().enumerate().filter(|(_, b)| !is_break(*b));
    while let Some((at, byte)) = bytes.next() {
        if signs % 4 == 0 {
            start = at;
        }
        if is_sign(byte) {
            signs += 1;
            continue;
        }
        if byte != b'=' || signs % 4 < 2 {
            return at;
        }
        if signs % 4 == 2 {
            match bytes.next() {
                Some((_, b'=')) => {}
                Some((other, _)) => return other,
                None => return text.len(),
            }
        }
        // Nothing may follow the padding.
        return bytes.next().map_or(start, |(at, _)| at);
    }
    // Of a last part that is not whole, what is missing would have begun here.
    text.len() - signs % 4
}

/// `-0`, of which no integer remembers the sign.
fn is_minus_zero(n: &serde_json::Number) -> bool {
    n.as_f64().is_some_and(|f| f == 0.0 && f.is_sign_negative())
}

/// A number without a fraction.
fn whole(n: &serde_json::Number) -> Option<i64> {
    n.as_i64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64))
}

fn canonical(text: &str, value: &mut Value) -> Result<(), String> {
    *value = json!(text.parse::<Quantity>().map_err(|e| e.to_string())?.to_string());
    Ok(())
}

fn time(text: &str, value: &mut Value, micro: bool) -> Result<(), String> {
    moment::check(text, micro)?;
    let parsed = text.parse::<jiff::Timestamp>().map_err(|e| format!("parsing time {text:?}: {e}"))?;
    let write = if micro { ironclad_api::time::rfc3339_micro } else { ironclad_api::time::rfc3339 };
    *value = json!(write(parsed));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle;
    use ironclad_api::GroupVersionKind;

    fn check(group: &str, kind: &str, mut value: Value) -> (Result<Noticed, String>, Value) {
        let id = bundle().kind(&GroupVersionKind::new(group, "v1", kind)).unwrap();
        let result = object(bundle(), id, &mut value);
        (result, value)
    }

    #[test]
    fn wrong_types_are_worded_as_go_words_them() {
        let table = [
            (
                json!({"spec": {"replicas": "3"}}),
                "string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (json!({"spec": 3}), "number into Go struct field Deployment.spec of type v1.DeploymentSpec"),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"name": 5}]}}}}),
                "number into Go struct field Container.spec.template.spec.containers.name of type string",
            ),
            (
                json!({"metadata": {"labels": []}}),
                "array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                json!({"spec": {"replicas": 3.0}}),
                "number 3.0 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"strategy": {"type": 1}}}),
                "number into Go struct field DeploymentStrategy.spec.strategy.type of type v1.DeploymentStrategyType",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": "x"}}]}}}}),
                "string into Go struct field ResourceRequirements.spec.template.spec.containers.resources.limits of type v1.ResourceList",
            ),
            (
                json!({"spec": {"template": {"spec": {"volumes": [{"hostPath": {"path": 5}}]}}}}),
                "number into Go struct field HostPathVolumeSource.spec.template.spec.volumes.VolumeSource.hostPath.path of type string",
            ),
        ];
        for (value, want) in table {
            assert_eq!(check("apps", "Deployment", value).0.unwrap_err(), format!("json: cannot unmarshal {want}"));
        }
    }

    #[test]
    fn unknown_fields_are_named_and_dropped() {
        let pod =
            json!({"kind": "Pod", "spec": {"contaners": [], "containers": [{"name": "a", "imag": "x"}]}, "foo": 1});
        let (noticed, value) = check("", "Pod", pod);
        assert_eq!(noticed.unwrap().unknown, ["foo", "spec.containers[0].imag", "spec.contaners"]);
        let spec = json!({"containers": [{"name": "a", "resources": {}}]});
        assert_eq!(value, json!({"kind": "Pod", "metadata": {}, "spec": spec, "status": {}}));
    }

    #[test]
    fn values_become_canonical() {
        let pod = json!({
            "metadata": {"creationTimestamp": null, "labels": {}},
            "spec": {"volumes": [], "terminationGracePeriodSeconds": 30, "containers": [{
                "name": "a", "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}}}]}});
        let (_, value) = check("", "Pod", pod);
        assert_eq!(
            value,
            json!({"metadata": {}, "status": {}, "spec": {"terminationGracePeriodSeconds": 30, "containers": [{
                "name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]}})
        );
    }
}
