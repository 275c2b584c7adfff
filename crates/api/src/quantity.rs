//! Resource quantities: `500m`, `128Mi`, `1e3`, with exact arithmetic and the canonical form of stock.
//!
//! A quantity is a decimal number with at most nine fractional digits; finer values round up, as stock does.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

/// How a quantity was written, which is how it is printed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `1e3`.
    DecimalExponent,
    /// `128Mi`.
    BinarySi,
    /// `500m`, `2G`.
    DecimalSi,
}

/// An exact resource amount.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The text was no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct ParseError;

const NANO: i128 = 1_000_000_000;
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
/// Larger amounts are capped here, as stock caps at 2^63-1.
const MAX: i128 = (i64::MAX as i128) * NANO;

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// A whole number of units, printed in decimal form.
    pub fn units(value: i64) -> Self {
        Self { nanos: i128::from(value) * NANO, format: Format::DecimalSi }
    }

    /// A number of bytes, printed in binary form.
    pub fn bytes(value: i64) -> Self {
        Self { nanos: i128::from(value) * NANO, format: Format::BinarySi }
    }

    /// A number of thousandths, printed in decimal form.
    pub fn millis(value: i64) -> Self {
        Self { nanos: i128::from(value) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// The amount in whole units, rounded up.
    pub fn value(self) -> i64 {
        clamp(ceil_div(self.nanos, NANO))
    }

    /// The amount in thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        clamp(ceil_div(self.nanos, NANO / 1000))
    }

    /// How it is printed.
    pub fn format(self) -> Format {
        self.format
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_integer(self) -> bool {
        self.nanos % NANO == 0
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Division rounded away from zero, as stock rounds.
fn ceil_div(a: i128, b: i128) -> i128 {
    let q = a / b;
    if a % b == 0 { q } else { q + a.signum() }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 64 {
            return Err(ParseError);
        }
        let (format, scale) = suffix_scale(suffix)?;
        let nanos = match scale {
            Scale::Binary(bits) => scaled(whole, fraction, 9).map(|(v, rest)| (v.saturating_mul(1 << bits), rest)),
            Scale::Decimal(exponent) => scaled(whole, fraction, 9 + exponent),
        };
        let (nanos, inexact) = nanos.ok_or(ParseError)?;
        let magnitude = nanos.saturating_add(i128::from(inexact)).min(MAX);
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, format })
    }
}

enum Scale {
    Binary(u32),
    Decimal(i32),
}

fn suffix_scale(suffix: &str) -> Result<(Format, Scale), ParseError> {
    if let Some((_, bits)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::BinarySi, Scale::Binary(*bits)));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::DecimalSi, Scale::Decimal(*exponent)));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError)?;
    let exponent: i32 = exponent.parse().map_err(|_| ParseError)?;
    if exponent.abs() > 64 {
        return Err(ParseError);
    }
    Ok((Format::DecimalExponent, Scale::Decimal(exponent)))
}

/// `whole.fraction * 10^shift` as an integer, and whether digits were cut off.
fn scaled(whole: &str, fraction: &str, shift: i32) -> Option<(i128, bool)> {
    let mut value: i128 = 0;
    let mut inexact = false;
    let point = whole.len() as i32;
    let last = point + shift;
    let digits = whole.bytes().chain(fraction.bytes());
    let mut position = 0;
    for digit in digits {
        if position < last {
            value = value.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        } else {
            inexact |= digit != b'0';
        }
        position += 1;
    }
    for _ in position..last {
        value = value.saturating_mul(10);
    }
    (value >= 0).then_some((value, inexact))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let magnitude = self.nanos.unsigned_abs();
        let nano = NANO.unsigned_abs();
        if self.format == Format::BinarySi && magnitude.is_multiple_of(nano) && magnitude / nano >= 1024 {
            let units = magnitude / nano;
            let (suffix, bits) =
                BINARY.iter().rev().find(|(_, b)| units.is_multiple_of(1u128 << b)).copied().unwrap_or(("", 0));
            return write!(f, "{sign}{}{suffix}", units >> bits);
        }
        let mut mantissa = magnitude;
        let mut exponent = -9;
        while exponent < 18 && mantissa.is_multiple_of(1000) {
            mantissa /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 {
                write!(f, "{sign}{mantissa}")
            } else {
                write!(f, "{sign}{mantissa}e{exponent}")
            };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
        write!(f, "{sign}{mantissa}{suffix}")
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos += other.nanos;
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos -= other.nanos;
    }
}

impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = ParseError;
    fn try_from(q: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Result<Self, ParseError> {
        q.0.parse()
    }
}

impl From<Quantity> for k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    fn from(q: Quantity) -> Self {
        Self(q.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|e| format!("error: {e}"), |q| q.to_string())
    }

    #[test]
    fn canonical_forms_match_stock() {
        let table = [
            ("0", "0"),
            ("0Mi", "0"),
            ("1000m", "1"),
            ("0.1", "100m"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1Ki", "1Ki"),
            ("0.5Mi", "512Ki"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1e3"),
            ("1000", "1k"),
            ("1200", "1200"),
            ("1E", "1E"),
            ("-5", "-5"),
            ("+5", "5"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            (".5", "500m"),
            ("5.", "5"),
            ("100Mi", "100Mi"),
            ("8Gi", "8Gi"),
        ];
        for (text, want) in table {
            assert_eq!(canonical(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", "1.2.3", "1 Gi", "1gi", "1KI", "--1", "1e", "abc", "1mm", "1Mib", "e3"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_round_up_and_compare_across_formats() {
        let q = |t: &str| t.parse::<Quantity>().unwrap();
        assert_eq!(q("100m").value(), 1);
        assert_eq!(q("1n").milli_value(), 1);
        assert_eq!(q("1Gi").value(), 1 << 30);
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("0.5") + q("500m"), q("1"));
        assert_eq!((q("2Gi") - q("1Gi")).to_string(), "1Gi");
        assert_eq!(q("9999999999999999999999").value(), i64::MAX);
    }
}
