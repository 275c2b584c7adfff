//! Times and durations; a duration is a number of nanoseconds, written as Go writes it.

use super::Func;
use crate::error::Error;
use crate::value::Val;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "getFullYear" => |a| part(a, |z| i64::from(z.year())),
        "getMonth" => |a| part(a, |z| i64::from(z.month()) - 1),
        "getDate" => |a| part(a, |z| i64::from(z.day())),
        "getDayOfMonth" => |a| part(a, |z| i64::from(z.day()) - 1),
        "getDayOfWeek" => |a| part(a, |z| i64::from(z.weekday().to_sunday_zero_offset())),
        "getDayOfYear" => |a| part(a, |z| i64::from(z.day_of_year()) - 1),
        "getHours" => |a| of_duration(a, 3_600_000_000_000, |z| i64::from(z.hour())),
        "getMinutes" => |a| of_duration(a, 60_000_000_000, |z| i64::from(z.minute())),
        "getSeconds" => |a| of_duration(a, 1_000_000_000, |z| i64::from(z.second())),
        "getMilliseconds" => |a| of_duration(a, 1_000_000, |z| i64::from(z.millisecond())),
        _ => return None,
    })
}

fn part<'a>(args: &[Val<'a>], of: fn(&Zoned) -> i64) -> Result<Val<'a>, Error> {
    let Val::Timestamp(t) = &args[0] else { return Err(Error::overload()) };
    let zone = match args.get(1) {
        Some(Val::Text(name)) => zone(name).ok_or_else(|| Error::new(format!("unknown time zone {}", &**name)))?,
        Some(_) => return Err(Error::overload()),
        None => TimeZone::UTC,
    };
    Ok(Val::Int(of(&t.to_zoned(zone))))
}

fn of_duration<'a>(args: &[Val<'a>], unit: i64, of: fn(&Zoned) -> i64) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Duration(d) if unit == 1_000_000 => Ok(Val::Int(d / unit % 1000)),
        Val::Duration(d) => Ok(Val::Int(d / unit)),
        _ => part(args, of),
    }
}

/// A zone by its name or by its offset: `-02:30`.
fn zone(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else { return TimeZone::get(name).ok() };
    let (h, m): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = (h.checked_abs()?.checked_mul(3600)?).checked_add(m.checked_mul(60)?)?;
    let seconds = if hours.starts_with('-') { -seconds } else { seconds };
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

/// A time, if it lies between the years 1 and 9999.
pub(super) fn checked<'a>(t: Option<Timestamp>) -> Result<Val<'a>, Error> {
    const FIRST: i64 = -62_135_596_800;
    t.filter(|t| t.as_second() >= FIRST).map(Val::Timestamp).ok_or_else(|| Error::new("timestamp overflow"))
}

pub(super) fn shift<'a>(t: Timestamp, by: i64) -> Result<Val<'a>, Error> {
    checked(t.checked_add(SignedDuration::from_nanos(by)).ok())
}

pub(super) fn between<'a>(a: Timestamp, b: Timestamp) -> Result<Val<'a>, Error> {
    let nanos = a.duration_since(b).as_nanos();
    i64::try_from(nanos).map(Val::Duration).map_err(|_| Error::new("duration overflow"))
}

/// A duration as Go reads it: `1h30m`, `-1.5s`, `100ms`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let fraction = &fraction[..fraction.len().min(15)];
        if !fraction.is_empty() {
            total = total.checked_add(fraction.parse::<i128>().ok()? * scale / 10i128.pow(fraction.len() as u32))?;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A duration as CEL writes it: seconds, with a fraction where there is one.
pub(crate) fn show_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, fraction) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{whole}s");
    }
    format!("{sign}{whole}.{}s", format!("{fraction:09}").trim_end_matches('0'))
}
