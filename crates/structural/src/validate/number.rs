//! Ranges and multiples of numbers.

use crate::schema::Checks;
use ironclad_api::{ErrorList, FieldError};
use serde_json::Number;

/// Whether a number has no fraction.
pub(super) fn is_whole(n: &Number) -> bool {
    n.as_i64().is_some() || n.as_u64().is_some() || n.as_f64().is_some_and(|f| f.fract() == 0.0)
}

/// What is wrong with a number; `error` makes an error of a message.
pub(super) fn check(checks: &Checks, n: &Number, error: impl Fn(String) -> FieldError) -> ErrorList {
    let mut errors = ErrorList::new();
    let value = n.as_f64().unwrap_or_default();
    let integer = if n.is_f64() { None } else { n.as_i64() };
    // An integer is compared with the limit as an integer.
    let limit = |l: f64| if integer.is_some() { l.trunc() } else { l };
    if let Some(factor) = checks.multiple_of {
        match integer {
            _ if limit(factor) <= 0.0 => {
                errors.push(error(format!("factor MultipleOf must be positive: {}", limit(factor))));
            }
            Some(i) if i % (factor as i64) != 0 => {
                errors.push(error(format!("should be a multiple of {}", limit(factor))))
            }
            None => {
                let times = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
                if (times - times.round()).abs() > 1e-9 * times.abs().max(1.0) {
                    errors.push(error(format!("should be a multiple of {factor}")));
                }
            }
            Some(_) => {}
        }
    }
    if let Some(max) = checks.maximum.map(limit) {
        match checks.exclusive_maximum {
            true if value >= max => errors.push(error(format!("should be less than {max}"))),
            false if value > max => errors.push(error(format!("should be less than or equal to {max}"))),
            _ => {}
        }
    }
    if let Some(min) = checks.minimum.map(limit) {
        match checks.exclusive_minimum {
            true if value <= min => errors.push(error(format!("should be greater than {min}"))),
            false if value < min => errors.push(error(format!("should be greater than or equal to {min}"))),
            _ => {}
        }
    }
    errors
}
