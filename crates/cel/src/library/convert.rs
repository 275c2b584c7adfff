//! Conversions between the types of the language.

use super::opaque::Opaque;
use super::{Func, time};
use crate::error::Error;
use crate::value::Val;

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "bool" => to_bool,
        "bytes" => to_bytes,
        "double" => to_double,
        "int" => to_int,
        "uint" => to_uint,
        "string" => to_text,
        "duration" => to_duration,
        "timestamp" => to_timestamp,
        _ => return None,
    })
}

fn failed(value: &Val<'_>, to: &str) -> Error {
    Error::new(format!("type conversion error from '{}' to '{to}'", value.type_name()))
}

fn to_bool<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Bool(b) => Ok(Val::Bool(*b)),
        Val::Text(t) => match &**t {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => Err(failed(&args[0], "bool")),
        },
        other => Err(failed(other, "bool")),
    }
}

fn to_bytes<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Bytes(b) => Ok(Val::Bytes(b.clone())),
        Val::Text(t) => Ok(Val::Bytes(t.as_bytes().into())),
        other => Err(failed(other, "bytes")),
    }
}

fn to_double<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Double(d) => Ok(Val::Double(*d)),
        Val::Int(i) => Ok(Val::Double(*i as f64)),
        Val::Uint(u) => Ok(Val::Double(*u as f64)),
        Val::Text(t) => t.trim_start_matches('+').parse().map(Val::Double).map_err(|_| failed(&args[0], "double")),
        other => Err(failed(other, "double")),
    }
}

fn to_int<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let overflow = || Error::new("integer overflow");
    match &args[0] {
        Val::Int(i) => Ok(Val::Int(*i)),
        Val::Uint(u) => i64::try_from(*u).map(Val::Int).map_err(|_| overflow()),
        Val::Double(d) if d.is_finite() && d.abs() < 9_223_372_036_854_775_807.0 => Ok(Val::Int(*d as i64)),
        Val::Double(_) => Err(overflow()),
        Val::Text(t) => t.parse().map(Val::Int).map_err(|_| failed(&args[0], "int")),
        Val::Timestamp(t) => Ok(Val::Int(t.as_second())),
        Val::Duration(d) => Ok(Val::Int(*d)),
        other => Err(failed(other, "int")),
    }
}

fn to_uint<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let overflow = || Error::new("unsigned integer overflow");
    match &args[0] {
        Val::Uint(u) => Ok(Val::Uint(*u)),
        Val::Int(i) => u64::try_from(*i).map(Val::Uint).map_err(|_| overflow()),
        Val::Double(d) if *d >= 0.0 && *d < 18_446_744_073_709_551_615.0 => Ok(Val::Uint(*d as u64)),
        Val::Double(_) => Err(overflow()),
        Val::Text(t) => t.parse().map(Val::Uint).map_err(|_| failed(&args[0], "uint")),
        other => Err(failed(other, "uint")),
    }
}

/// A double as Go's `%g` writes it.
pub(super) fn show_double(d: f64) -> String {
    if d.is_nan() {
        return "NaN".into();
    }
    if d.is_infinite() {
        return if d > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let exponent = if d == 0.0 { 0 } else { d.abs().log10().floor() as i32 };
    if (-4..21).contains(&exponent) {
        return format!("{d}");
    }
    let text = format!("{d:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn to_text<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    Ok(Val::text(match &args[0] {
        Val::Text(t) => return Ok(Val::Text(t.clone())),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Uint(u) => u.to_string(),
        Val::Double(d) => show_double(*d),
        Val::Bytes(b) => {
            String::from_utf8(b.to_vec()).map_err(|_| Error::new("invalid UTF-8 in bytes, cannot convert to string"))?
        }
        Val::Timestamp(t) => t.to_string(),
        Val::Duration(d) => time::show_duration(*d),
        Val::Opaque(o @ (Opaque::Ip(_) | Opaque::Cidr(_))) => o.to_string(),
        other => return Err(failed(other, "string")),
    }))
}

fn to_duration<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Duration(d) => Ok(Val::Duration(*d)),
        Val::Int(i) => Ok(Val::Duration(*i)),
        Val::Text(t) => time::parse_duration(t).map(Val::Duration).ok_or_else(|| failed(&args[0], "duration")),
        other => Err(failed(other, "duration")),
    }
}

fn to_timestamp<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Timestamp(t) => Ok(Val::Timestamp(*t)),
        Val::Int(i) => time::checked(jiff::Timestamp::from_second(*i).ok()),
        Val::Text(t) => t.parse().map(Val::Timestamp).map_err(|_| failed(&args[0], "timestamp")),
        other => Err(failed(other, "timestamp")),
    }
}
