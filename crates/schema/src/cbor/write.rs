//! JSON values as CBOR, by the types that they are of: only those say which texts stand for bytes.

use super::MAGIC;
use crate::bundle::{Bundle, Scalar, Shape};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::object;
use ironclad_json::{Map, Number, Value};

/// A whole document. Fails where an object does not hold what its type says.
pub fn encode(bundle: &Bundle, value: &Value) -> Result<Vec<u8>, String> {
    let mut out = MAGIC.to_vec();
    document(bundle, value, &mut out)?;
    Ok(out)
}

/// An event of a watch.
pub fn event(bundle: &Bundle, kind: &str, value: &Value) -> Result<Vec<u8>, String> {
    let mut out = MAGIC.to_vec();
    head(5, 2, &mut out);
    text("type", &mut out);
    text(kind, &mut out);
    text("object", &mut out);
    document(bundle, value, &mut out)?;
    Ok(out)
}

fn document(bundle: &Bundle, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let (Value::Object(map), gvk) = (value, object::gvk(value)) else { return plain(value, out) };
    match bundle.kind(&gvk) {
        Some(id) => shaped(bundle, &Shape::Object(id), value, out),
        // A list of objects, each of which says what it is, or is of the kind that the list is of.
        None => {
            let mut item = gvk.clone();
            item.kind = gvk.kind.strip_suffix("List").unwrap_or_default().to_owned();
            let shape = bundle.kind(&item).map(Shape::Object);
            head(5, map.len() as u64, out);
            for (key, value) in map {
                text(key, out);
                match (key.as_str(), value, &shape) {
                    ("items", Value::Array(items), Some(shape)) => {
                        head(4, items.len() as u64, out);
                        items.iter().try_for_each(|item| shaped(bundle, shape, item, out))?;
                    }
                    _ => plain(value, out)?,
                }
            }
            Ok(())
        }
    }
}

fn shaped(bundle: &Bundle, shape: &Shape, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match (shape, value) {
        (Shape::Scalar(Scalar::Bytes), Value::String(given)) => {
            let bytes = STANDARD.decode(given).map_err(|e| format!("illegal base64 data: {e}"))?;
            head(6, 22, out);
            head(2, bytes.len() as u64, out);
            out.extend_from_slice(&bytes);
            Ok(())
        }
        (Shape::Object(id), Value::Object(map)) => {
            let ty = bundle.get(*id);
            fields(map, out, |key, value, out| match ty.field(key) {
                Some(field) => shaped(bundle, &field.shape, value, out),
                None => plain(value, out),
            })
        }
        (Shape::Map(of, _), Value::Object(map)) => fields(map, out, |_, value, out| shaped(bundle, of, value, out)),
        (Shape::List(of, _), Value::Array(items)) => {
            head(4, items.len() as u64, out);
            items.iter().try_for_each(|item| shaped(bundle, of, item, out))
        }
        _ => plain(value, out),
    }
}

fn fields(
    map: &Map,
    out: &mut Vec<u8>,
    mut each: impl FnMut(&str, &Value, &mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    head(5, map.len() as u64, out);
    for (key, value) in map {
        text(key, out);
        each(key, value, out)?;
    }
    Ok(())
}

fn plain(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(false) => out.push(0xf4),
        Value::Bool(true) => out.push(0xf5),
        Value::Number(given) => number(given, out)?,
        Value::String(given) => text(given, out),
        Value::Array(items) => {
            head(4, items.len() as u64, out);
            items.iter().try_for_each(|item| plain(item, out))?;
        }
        Value::Object(map) => fields(map, out, |_, value, out| plain(value, out))?,
    }
    Ok(())
}

fn text(given: &str, out: &mut Vec<u8>) {
    head(2, given.len() as u64, out);
    out.extend_from_slice(given.as_bytes());
}

fn number(given: &Number, out: &mut Vec<u8>) -> Result<(), String> {
    if let Some(positive) = given.as_u64() {
        head(0, positive, out);
    } else if let Some(negative) = given.as_i64() {
        head(1, !negative as u64, out);
    } else {
        float(given.as_f64().ok_or("a number that cannot be written")?, out);
    }
    Ok(())
}

/// A float in the shortest form that holds it.
fn float(value: f64, out: &mut Vec<u8>) {
    let single = value as f32;
    if f64::from(single).to_bits() != value.to_bits() {
        out.push(0xfb);
        return out.extend_from_slice(&value.to_be_bytes());
    }
    match half(single) {
        Some(bits) => {
            out.push(0xf9);
            out.extend_from_slice(&bits.to_be_bytes());
        }
        None => {
            out.push(0xfa);
            out.extend_from_slice(&single.to_be_bytes());
        }
    }
}

/// The bits of a float in half precision, if it fits without loss.
fn half(value: f32) -> Option<u16> {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let (exponent, fraction) = (((bits >> 23) & 0xff) as i32 - 127, bits & 0x7f_ffff);
    if value == 0.0 {
        return Some(sign);
    }
    if (-14..=15).contains(&exponent) && fraction.trailing_zeros() >= 13 {
        return Some(sign | (((exponent + 15) as u16) << 10) | (fraction >> 13) as u16);
    }
    // Below that, numbers have fewer digits.
    if (-24..-14).contains(&exponent) {
        let (whole, shift) = (fraction | 0x80_0000, (-exponent - 1) as u32);
        return (whole.trailing_zeros() >= shift).then_some(sign | (whole >> shift) as u16);
    }
    None
}

/// The head of an item: its major type and its number.
fn head(major: u8, number: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match number {
        0..=23 => out.push(major + number as u8),
        24..=0xff => out.extend_from_slice(&[major + 24, number as u8]),
        0x100..=0xffff => {
            out.push(major + 25);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major + 26);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(major + 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
