//! Ranges, multiples and formats of numbers.

use crate::schema::{Checks, Type};
use ironclad_api::field::go_float;
use ironclad_api::{ErrorList, FieldError};
use serde_json::Number;

/// Whether a number has no fraction.
pub(super) fn is_whole(n: &Number) -> bool {
    n.as_i64().is_some() || n.as_f64().is_some_and(is_integer)
}

/// Whether a number is an integer as far as numbers of JSON are exact, give or take a little.
fn is_integer(number: f64) -> bool {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    let whole = number.round();
    let off = (number - whole).abs();
    number.abs() <= EXACT && (off == 0.0 || off < 1e-9 * whole.abs())
}

/// What a number, or a limit of it, is to be converted to without loss.
#[derive(Clone, Copy)]
enum Range {
    Any,
    Int32,
    Int64,
    Float,
}

impl Range {
    fn of(ty: Option<Type>, format: &str) -> Self {
        match (ty, format) {
            (Some(Type::Integer), "int32") => Self::Int32,
            (Some(Type::Integer), _) => Self::Int64,
            (Some(Type::Number), "float") => Self::Float,
            _ => Self::Any,
        }
    }

    fn has(self, value: f64, integer: Option<i64>) -> bool {
        let whole = |low: f64, high: f64| value.fract() == 0.0 && (low..high).contains(&value);
        match (self, integer) {
            (Self::Any, _) | (Self::Int64, Some(_)) => true,
            (Self::Int32, Some(i)) => i32::try_from(i).is_ok(),
            (Self::Int32, None) => whole(-2_147_483_648.0, 2_147_483_648.0),
            (Self::Int64, None) => whole(-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0),
            (Self::Float, _) => value.abs() <= f64::from(f32::MAX),
        }
    }
}

/// What is wrong with a number. `out_of_range` makes an error of what does not fit into the type, `error` of all else.
pub(super) fn check(
    ty: Option<Type>,
    checks: &Checks,
    n: &Number,
    out_of_range: impl Fn(String) -> FieldError,
    error: impl Fn(Why) -> FieldError,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let value = n.as_f64().unwrap_or_default();
    let integer = if n.is_f64() { None } else { n.as_i64() };
    let known = matches!(
        (ty, checks.format.as_str()),
        (Some(Type::Integer), "int32" | "int64") | (Some(Type::Number), "float" | "double")
    );
    let format = if known { checks.format.as_str() } else { "" };
    let range = Range::of(ty, format);
    let fits = |what: &str, value: f64, integer: Option<i64>, errors: &mut ErrorList| {
        let good = range.has(value, integer);
        if !good {
            let ty = ty.map_or("", Type::name);
            let how = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
            errors.push(out_of_range(format!("{what} value must be of type {ty} {how}")));
        }
        good
    };
    fits("Checked", value, integer, &mut errors);
    if let Some(factor) = checks.multiple_of {
        let good = fits("MultipleOf", factor, None, &mut errors);
        multiple(value, integer.filter(|_| good), factor, &mut errors, &error);
    }
    let told = |why: String| error(Why::Value(why));
    // A limit that fits is compared with an integer as an integer.
    if let Some(min) = checks.minimum {
        let whole = fits("Minimum boundary", min, None, &mut errors) && integer.is_some();
        let min = limit(min, whole);
        match checks.exclusive_minimum {
            true if value <= min => errors.push(told(format!("should be greater than {}", told_limit(min, whole)))),
            false if value < min => {
                errors.push(told(format!("should be greater than or equal to {}", told_limit(min, whole))))
            }
            _ => {}
        }
    }
    if let Some(max) = checks.maximum {
        let whole = fits("Maximum boundary", max, None, &mut errors) && integer.is_some();
        let max = limit(max, whole);
        match checks.exclusive_maximum {
            true if value >= max => errors.push(told(format!("should be less than {}", told_limit(max, whole)))),
            false if value > max => {
                errors.push(told(format!("should be less than or equal to {}", told_limit(max, whole))))
            }
            _ => {}
        }
    }
    errors
}

/// A limit as it is compared; where it becomes an integer, one beyond all integers becomes the least of them.
fn limit(limit: f64, integer: bool) -> f64 {
    match integer {
        true if limit.abs() >= 9_223_372_036_854_775_808.0 => -9_223_372_036_854_775_808.0,
        true => limit.trunc(),
        false => limit,
    }
}

/// A limit as it is told: one that became an integer has all its digits.
fn told_limit(limit: f64, integer: bool) -> String {
    if integer { (limit as i64).to_string() } else { go_float(limit) }
}

/// What is wrong with a number.
pub(super) enum Why {
    /// With the value.
    Value(String),
    /// With the factor that it should be a multiple of.
    Factor(String),
}

fn multiple(value: f64, integer: Option<i64>, factor: f64, errors: &mut ErrorList, error: &impl Fn(Why) -> FieldError) {
    let limit = if integer.is_some() { factor.trunc() } else { factor };
    match integer {
        _ if limit <= 0.0 => errors.push(error(Why::Factor(told_limit(limit, integer.is_some())))),
        Some(i) if i % (factor as i64) != 0 => {
            errors.push(error(Why::Value(format!("should be a multiple of {}", told_limit(limit, true)))))
        }
        None => {
            let times = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
            if !is_integer(times) {
                errors.push(error(Why::Value(format!("should be a multiple of {}", go_float(factor)))));
            }
        }
        Some(_) => {}
    }
}
