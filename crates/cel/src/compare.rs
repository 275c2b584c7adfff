//! Equality of lists and maps; lists that a schema calls sets or maps are compared without their order.

use crate::decl::{Decl, Identity, Shape};
use crate::value::{Key, Val};
use ironclad_json::Value;
use std::collections::HashMap;

/// How the items of a list are told apart.
pub(crate) fn identity<'a>(list: &Val<'a>) -> Option<&'a Identity> {
    match list {
        Val::Json(Value::Array(_), Some(Decl { shape: Shape::List { identity, .. }, .. })) => Some(identity),
        _ => None,
    }
}

/// The keys of an item of a list of maps, as one text.
pub(crate) fn key_of(item: &Val<'_>, keys: &[String]) -> String {
    let Val::Json(item, _) = item else { return String::new() };
    let parts: Vec<String> = keys.iter().map(|k| item[k.as_str()].to_string()).collect();
    parts.join("\u{0}")
}

pub(crate) fn collections_equal<'a>(a: &Val<'a>, b: &Val<'a>) -> bool {
    if let (Val::Json(x, None), Val::Json(y, None)) = (a, b)
        && std::ptr::eq(*x, *y)
    {
        return true;
    }
    if let (Some(x), Some(y)) = (a.items(), b.items()) {
        return match identity(a).or_else(|| identity(b)) {
            _ if x.len() != y.len() => false,
            Some(Identity::Set) => as_sets(&x, &y),
            Some(Identity::Keys(keys)) => as_maps(&x, &y, keys),
            _ => x.iter().zip(&y).all(|(x, y)| x.equals(y)),
        };
    }
    let (Some(x), Some(y)) = (a.entries(), b.entries()) else { return false };
    if x.len() != y.len() {
        return false;
    }
    let by_key: HashMap<Key, &Val<'a>> = y.iter().filter_map(|(k, v)| Some((Key::of(k)?, v))).collect();
    x.iter().all(|(k, v)| Key::of(k).and_then(|k| by_key.get(&k)).is_some_and(|other| v.equals(other)))
}

/// Sets hold scalars, or lists and objects that are compared as a whole.
fn as_sets<'a>(x: &[Val<'a>], y: &[Val<'a>]) -> bool {
    let texts = |l: &[Val<'_>]| {
        let mut out: Vec<String> = l.iter().map(|v| format!("{} {}", v.type_name(), v.show())).collect();
        out.sort();
        out
    };
    texts(x) == texts(y)
}

fn as_maps<'a>(x: &[Val<'a>], y: &[Val<'a>], keys: &[String]) -> bool {
    let by_key: HashMap<String, &Val<'a>> = y.iter().map(|v| (key_of(v, keys), v)).collect();
    x.iter().all(|v| by_key.get(&key_of(v, keys)).is_some_and(|other| v.equals(other)))
}
