//! Time stamps as the API writes them.

use jiff::{Timestamp, Unit};
use std::time::Duration;

/// Now, as `metav1.Time` writes it: RFC 3339 with whole seconds, `2026-11-21T10:00:00Z`.
pub fn now() -> String {
    rfc3339(Timestamp::now())
}

/// A time as `metav1.Time` writes it.
pub fn rfc3339(t: Timestamp) -> String {
    let whole = Timestamp::from_second(t.as_second()).unwrap_or(t);
    format!("{whole}")
}

/// A time as `metav1.MicroTime` writes it: six digits after the point.
pub fn rfc3339_micro(t: Timestamp) -> String {
    format!("{:.6}", t.round(Unit::Microsecond).unwrap_or(t))
}

/// A duration as Go writes it: `300ms`, `1.5h`, `2h45m`; `None` for what is none, and for negative ones.
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        sum += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(sum).ok()).flatten()
}

/// A duration as Go reads it, in nanoseconds, which may be less than none; the error is worded as Go words it.
pub fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", crate::go_quote(text));
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    let mut sum = 0.0;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let count: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let nanoseconds = match &rest[..end] {
            "" => return Err(format!("time: missing unit in duration {}", crate::go_quote(text))),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            unit => {
                let (unit, text) = (crate::go_quote(unit), crate::go_quote(text));
                return Err(format!("time: unknown unit {unit} in duration {text}"));
            }
        };
        sum += count * nanoseconds;
        rest = &rest[end..];
        if rest.is_empty() {
            break;
        }
    }
    if sum > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(if text.starts_with('-') { -(sum as i64) } else { sum as i64 })
}

/// Nanoseconds as Go shows a duration: `1h0m30s`, `1.5s`, `500ms`.
pub fn show_duration(nanoseconds: i64) -> String {
    let (sign, all) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let parts = |unit: u64, name: &str| {
        let text = format!("{}.{:0width$}", all / unit, all % unit, width = unit.ilog10() as usize);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{sign}{text}{name}")
    };
    match all {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{all}ns"),
        1_000..1_000_000 => parts(1_000, "µs"),
        1_000_000..1_000_000_000 => parts(1_000_000, "ms"),
        _ => {
            let (minutes, rest) = (all / 60_000_000_000, all % 60_000_000_000);
            let seconds = format!("{}.{:09}", rest / 1_000_000_000, rest % 1_000_000_000);
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// An age as kubectl's tables show it (`duration.HumanDuration`): `5s`, `2m10s`, `3h`, `2d4h`, `400d`, `3y`.
pub fn human_duration(seconds: i64) -> String {
    let (s, m, h, d) = (seconds, seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{s}s"),
        120..600 => pair(m, "m", s % 60, "s"),
        600..10_800 => format!("{m}m"),
        10_800..28_800 => pair(h, "h", m % 60, "m"),
        28_800..172_800 => format!("{h}h"),
        172_800..691_200 => pair(d, "d", h % 24, "h"),
        691_200..63_072_000 => format!("{d}d"),
        63_072_000..252_288_000 => pair(d / 365, "y", d % 365, "d"),
        _ => format!("{}y", d / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_as_go_does() {
        for (text, shown) in [
            ("31s", "31s"),
            ("-1h2m", "-1h2m0s"),
            ("1h0m30.5s", "1h0m30.5s"),
            ("500ms", "500ms"),
            ("1.5ms", "1.5ms"),
            ("90s", "1m30s"),
            ("1ns", "1ns"),
            ("+0", "0s"),
        ] {
            assert_eq!(show_duration(duration(text).unwrap()), shown, "{text}");
        }
        for (text, why) in [
            ("1x", "time: unknown unit \"x\" in duration \"1x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
        ] {
            assert_eq!(duration(text).unwrap_err(), why);
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let table = [
            ("3s", Some(3000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1500)),
            ("250ms", Some(250)),
            ("0", Some(0)),
        ];
        for (text, wanted) in table {
            assert_eq!(go_duration(text).map(|d| d.as_millis()), wanted, "{text}");
        }
        for bad in ["", "3", "s", "1d", "-1s", "1..2s"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let table = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (600, "10m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (-5, "<invalid>"),
        ];
        for (seconds, text) in table {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn times_have_the_digits_of_their_type() {
        let t: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        assert_eq!(rfc3339(t), "2026-01-02T03:04:05Z");
        assert_eq!(rfc3339_micro(t), "2026-01-02T03:04:05.500000Z");
    }
}
