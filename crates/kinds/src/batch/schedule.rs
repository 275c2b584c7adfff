//! The syntax of cron schedules, with the messages of the parser that stock uses.

/// A field's least and greatest value and its names, which begin at the least value.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const fn field(low: u32, high: u32, names: &'static [&'static str]) -> Field {
    Field { low, high, names }
}

const FIELDS: [Field; 5] = [
    field(0, 59, &[]),
    field(0, 23, &[]),
    field(1, 31, &[]),
    field(1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    field(0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Checks five fields or a `@name`, with a zone before them or not.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        let (head, tail) = schedule.split_once(' ').unwrap_or((schedule, ""));
        let zone = head.split_once('=').map_or("", |(_, z)| z);
        check_zone(zone).map_err(|why| format!("provided bad location {zone}: {why}"))?;
        rest = tail.trim();
    }
    if rest.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if let Some(name) = rest.strip_prefix('@') {
        return match name {
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
            _ => match name.strip_prefix("every ") {
                Some(period) => every(rest, period),
                None => Err(format!("unrecognized descriptor: {rest}")),
            },
        };
    }
    let given: Vec<&str> = rest.split_whitespace().collect();
    if given.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", given.len(), given.join(" ")));
    }
    for (text, field) in given.into_iter().zip(&FIELDS) {
        for part in text.split(',').filter(|p| !p.is_empty()) {
            range(part, field)?;
        }
    }
    Ok(())
}

/// Checks a period such as `1h30m`.
fn every(whole: &str, period: &str) -> Result<(), String> {
    let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
    let mut rest = period;
    let mut any = period == "0";
    while !rest.is_empty() && rest != "0" {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - digits.len()];
        let unit_len = digits.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(digits.len());
        if number.parse::<f64>().is_err() || !units.contains(&&digits[..unit_len]) {
            any = false;
            break;
        }
        any = true;
        rest = &digits[unit_len..];
    }
    if any { Ok(()) } else { Err(format!("failed to parse duration {whole}: time: invalid duration {period:?}")) }
}

fn range(part: &str, field: &Field) -> Result<(), String> {
    let steps: Vec<&str> = part.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let (start, mut end) = if matches!(ends[0], "*" | "?") {
        (field.low, field.high)
    } else {
        let start = value(ends[0], field)?;
        match ends.len() {
            1 => (start, start),
            2 => (start, value(ends[1], field)?),
            _ => return Err(format!("too many hyphens: {part}")),
        }
    };
    let step = match steps.len() {
        1 => 1,
        2 => {
            let step = number(steps[1])?;
            if ends.len() == 1 && !matches!(ends[0], "*" | "?") {
                end = field.high;
            }
            step
        }
        _ => return Err(format!("too many slashes: {part}")),
    };
    if start < field.low {
        return Err(format!("beginning of range ({start}) below minimum ({}): {part}", field.low));
    }
    if end > field.high {
        return Err(format!("end of range ({end}) above maximum ({}): {part}", field.high));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

fn value(text: &str, field: &Field) -> Result<u32, String> {
    let named = field.names.iter().position(|n| n.eq_ignore_ascii_case(text));
    match named {
        Some(i) => Ok(field.low + i as u32),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let parsed: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))?;
    u32::try_from(parsed).map_err(|_| format!("negative number ({parsed}) not allowed: {text}"))
}

/// Checks the name of a time zone.
pub(super) fn check_zone(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("timeZone must be nil or non-empty string".to_owned());
    }
    if name.eq_ignore_ascii_case("local") {
        return Err("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned());
    }
    let known = name == "UTC" || jiff::tz::TimeZone::get(name).is_ok_and(|z| z.iana_name() == Some(name));
    if known { Ok(()) } else { Err(format!("unknown time zone {name}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_checked_as_stock_checks_them() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan mon-fri", "@daily", "@every 1h30m", "0 0 * * 6", "5/15 * ? * *"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let table = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ];
        for (bad, why) in table {
            assert_eq!(check(bad), Err(why.to_owned()));
        }
    }

    #[test]
    fn zones_are_those_of_iana() {
        for good in ["UTC", "Europe/Berlin", "America/New_York"] {
            assert_eq!(check_zone(good), Ok(()), "{good}");
        }
        assert_eq!(check_zone("Europe/Nowhere"), Err("unknown time zone Europe/Nowhere".to_owned()));
        assert!(check_zone("Local").is_err() && check_zone("").is_err() && check_zone("europe/berlin").is_err());
    }
}
