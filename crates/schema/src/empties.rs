//! Lists and maps that somebody sent empty. Go tells them from missing ones until it stores an object; ours are left out
//! where an object comes in, and laid into it again for those who look at what was sent.

use crate::bundle::{Bundle, List, Scalar, Shape, Type};
use ironclad_json::{Map, Value};

/// What was sent, where lists or maps in it were left empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Empties(Option<Value>);

/// Which empty lists and maps are laid into an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All that were sent.
    All,
    /// Those of fields that Go writes even when nothing is there.
    Written,
    /// Those that tell who owns a field: of fields that Go writes even when nothing is there, and in lists that are
    /// compared as a whole.
    Owned,
}

impl Empties {
    pub(crate) fn of(sent: Value) -> Self {
        Self(Some(sent))
    }

    /// Whether nothing was sent empty.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Those of some fields of the object alone.
    #[must_use]
    pub fn only(mut self, field: impl Fn(&str) -> bool) -> Self {
        if let Some(Value::Object(sent)) = &mut self.0 {
            let others: Vec<_> = sent.keys().filter(|key| !field(key)).cloned().collect();
            others.iter().for_each(|key| drop(sent.remove(key)));
        }
        self
    }

    /// The object with what was sent empty and has not been filled since; `None` where nothing comes in.
    pub fn laid(&self, bundle: &Bundle, shape: &Shape, object: &Value, which: Which) -> Option<Value> {
        Lay { bundle, which }.value(shape, self.0.as_ref()?, object, None)
    }

    /// All that was sent empty, but for what `old` does not have either: whoever compares the two takes an empty list or
    /// map for a missing one.
    pub fn laid_unlike(&self, bundle: &Bundle, shape: &Shape, object: &Value, old: &Value) -> Option<Value> {
        Lay { bundle, which: Which::All }.value(shape, self.0.as_ref()?, object, Some(old))
    }
}

/// Whether Go knows a value as an empty list or map.
pub(crate) fn is_empty(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Scalar(Scalar::Any | Scalar::Deduced), _) => false,
        (Shape::List(..), Value::Array(list)) => list.is_empty(),
        (Shape::Map(..), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

struct Lay<'a> {
    bundle: &'a Bundle,
    which: Which,
}

impl Lay<'_> {
    /// `old` is what stood at the same place, if that is known.
    fn value(&self, shape: &Shape, sent: &Value, object: &Value, old: Option<&Value>) -> Option<Value> {
        match (shape, sent, object) {
            (Shape::Object(id), Value::Object(sent), Value::Object(object)) => {
                self.object(self.bundle.get(*id), sent, object, old).map(Value::Object)
            }
            (Shape::List(item, list_type), Value::Array(sent), Value::Array(list)) if sent.len() == list.len() => {
                let which =
                    if *list_type == List::Atomic && self.which == Which::Owned { Which::All } else { self.which };
                let inner = Lay { which, ..*self };
                let old = old.and_then(Value::as_array).filter(|old| old.len() == list.len());
                let pairs = sent.iter().zip(list.iter()).enumerate();
                let lay = |(i, (s, o)): (usize, (&Value, &Value))| inner.value(item, s, o, old.map(|old| &old[i]));
                let laid: Vec<_> = pairs.map(lay).collect();
                let whole = || laid.iter().zip(list.iter()).map(|(l, o)| l.as_ref().unwrap_or(o).clone()).collect();
                laid.iter().any(Option::is_some).then(|| Value::Array(whole()))
            }
            (Shape::Map(item, _), Value::Object(sent), Value::Object(map)) => {
                let mut out = map.clone();
                for (key, value) in sent {
                    if let Some(laid) =
                        map.get(key).and_then(|there| self.value(item, value, there, old.and_then(|o| o.get(key))))
                    {
                        out.insert(key.clone(), laid);
                    }
                }
                (!out.is_same(map)).then_some(Value::Object(out))
            }
            _ => None,
        }
    }

    fn object(&self, ty: &Type, sent: &Map, object: &Map, old: Option<&Value>) -> Option<Map> {
        let mut out = object.clone();
        for (key, value) in sent {
            let Some(field) = ty.field(key) else { continue };
            let there = object.get(key).filter(|v| !v.is_null());
            let was = old.and_then(|old| old.get(key)).filter(|v| !v.is_null());
            let laid = match there {
                None if old.is_some() && was.is_none() => None,
                None if is_empty(&field.shape, value) => {
                    let written = ty.always.iter().any(|(name, _)| name == key.as_str());
                    (written || self.which == Which::All).then(|| value.clone())
                }
                None => None,
                Some(there) => self.value(&field.shape, value, there, was),
            };
            if let Some(laid) = laid {
                out.insert(key.clone(), laid);
            }
        }
        (!out.is_same(object)).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bundle, check};
    use ironclad_api::GroupVersionKind;
    use ironclad_json::json;

    #[test]
    fn what_was_sent_empty_is_laid_into_an_object_again() {
        let laid = |group: &str, kind: &str, sent: Value, which: Which| {
            let id = bundle().kind(&GroupVersionKind::new(group, "v1", kind)).unwrap();
            let mut object = sent;
            let empties = check::object(bundle(), id, &mut object).unwrap().empties;
            empties.laid(bundle(), &Shape::Object(id), &object, which)
        };
        let role =
            laid("rbac.authorization.k8s.io", "Role", json!({"metadata": {"labels": {}}, "rules": []}), Which::Owned);
        assert_eq!(role.unwrap()["rules"], json!([]));
        let map = laid("", "ConfigMap", json!({"metadata": {"labels": {}}, "data": {}}), Which::All).unwrap();
        assert_eq!((&map["data"], &map["metadata"]["labels"]), (&json!({}), &json!({})));
        assert_eq!(laid("", "ConfigMap", json!({"data": {}}), Which::Owned), None);
        let rules = json!({"rules": [{"verbs": ["get"], "nonResourceURLs": []}]});
        let role = laid("rbac.authorization.k8s.io", "Role", rules, Which::Owned).unwrap();
        assert_eq!(role["rules"][0]["nonResourceURLs"], json!([]));
        assert_eq!(laid("", "ConfigMap", json!({"data": {"a": ""}, "metadata": {}}), Which::All), None);
        let pod =
            json!({"spec": {"containers": [{"name": "c", "args": []}, {"name": "d", "resources": {"claims": []}}]}});
        let pod = laid("", "Pod", pod, Which::All).unwrap();
        assert_eq!(pod["spec"]["containers"][0]["args"], json!([]));
        assert_eq!(pod["spec"]["containers"][1]["resources"]["claims"], json!([]));
    }
}
