//! Times as Go reads them: RFC 3339 by a layout, which for times of microseconds wants exactly six digits.
//!
//! Invariant: a text that is refused is told in Go's words, at the place where Go stops.

use ironclad_api::go_quote;

/// One part of a layout.
#[derive(Clone, Copy)]
enum Part {
    /// A sign that stands between parts.
    Sign(&'static str),
    /// A year of four digits.
    Year,
    /// Two digits: how the layout writes them, what they are, the least and the most.
    Two(&'static str, &'static str, u32, u32),
    /// The day, whose range depends on its month.
    Day,
    /// Six digits behind a dot.
    Micros,
    /// `Z`, or hours and minutes behind a sign.
    Zone,
}

use Part::{Day, Micros, Sign, Two, Year, Zone};

const DATE: [Part; 11] = [
    Year,
    Sign("-"),
    Two("01", "month", 1, 12),
    Sign("-"),
    Day,
    Sign("T"),
    Two("15", "hour", 0, 23),
    Sign(":"),
    Two("04", "minute", 0, 59),
    Sign(":"),
    Two("05", "second", 0, 59),
];

/// Where reading stopped.
enum Stop {
    /// At this rest, for this part of the layout.
    At(String, &'static str),
    /// Something is out of its range.
    Range(&'static str),
    /// Behind the end.
    Extra(String),
}

/// What is wrong with a time, if anything is; `micro` asks for six digits of a second.
pub(crate) fn check(text: &str, micro: bool) -> Result<(), String> {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let shown = go_quote(text);
    read(text, micro).map_err(|stop| match stop {
        Stop::At(rest, part) => {
            format!("parsing time {shown} as {layout:?}: cannot parse {} as {part:?}", go_quote(&rest))
        }
        Stop::Range(what) => format!("parsing time {shown}: {what} out of range"),
        Stop::Extra(rest) => format!("parsing time {shown}: extra text: {}", go_quote(&rest)),
    })
}

fn read(text: &str, micro: bool) -> Result<(), Stop> {
    let (mut rest, mut year, mut month, mut day) = (text, 0, 0, 0);
    let last: &[Part] = if micro { &[Micros, Zone] } else { &[Zone] };
    for part in DATE.iter().chain(last) {
        match *part {
            Sign(sign) => rest = rest.strip_prefix(sign).ok_or_else(|| Stop::At(rest.to_owned(), sign))?,
            Year => (year, rest) = digits(rest, 4).ok_or_else(|| Stop::At(rest.to_owned(), "2006"))?,
            Day => (day, rest) = digits(rest, 2).ok_or_else(|| Stop::At(rest.to_owned(), "02"))?,
            Two(shown, what, least, most) => {
                let (number, behind) = digits(rest, 2).ok_or_else(|| Stop::At(rest.to_owned(), shown))?;
                if !(least..=most).contains(&number) {
                    return Err(Stop::Range(what));
                }
                rest = behind;
                match what {
                    "month" => month = number,
                    // Parts of a second may stand where the layout has none.
                    "second" if !micro => rest = without_fraction(rest),
                    _ => {}
                }
            }
            Micros => {
                let found = rest.strip_prefix(['.', ',']).and_then(|behind| digits(behind, 6));
                rest = found.ok_or_else(|| Stop::At(rest.to_owned(), ".000000"))?.1;
            }
            Zone => rest = zone(rest)?,
        }
    }
    if !rest.is_empty() {
        return Err(Stop::Extra(rest.to_owned()));
    }
    if (1..=days(year, month)).contains(&day) { Ok(()) } else { Err(Stop::Range("day")) }
}

fn digits(text: &str, count: usize) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(count)?;
    let number = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())??;
    Some((number, rest))
}

fn without_fraction(text: &str) -> &str {
    match text.strip_prefix(['.', ',']) {
        Some(behind) if behind.starts_with(|c: char| c.is_ascii_digit()) => {
            behind.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => text,
    }
}

fn zone(text: &str) -> Result<&str, Stop> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Ok(rest);
    }
    let read = || {
        let (hours, rest) = digits(text.strip_prefix(['+', '-'])?, 2)?;
        let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
        Some((hours, minutes, rest))
    };
    match read() {
        None => Err(Stop::At(text.to_owned(), "Z07:00")),
        Some((25.., ..)) => Err(Stop::Range("time zone offset hour")),
        Some((_, 61.., _)) => Err(Stop::Range("time zone offset minute")),
        Some((.., rest)) => Ok(rest),
    }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_refused_is_told_as_go_tells_it() {
        let plain = "as \"2006-01-02T15:04:05Z07:00\": cannot parse";
        let micro = "as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse";
        let table = [
            ("2020-01-01T00:00:00Z", false, String::new()),
            ("2020-01-01T00:00:00.5+01:00", false, String::new()),
            ("2020-01-01T00:00:00.123456Z", true, String::new()),
            ("2020-01-01T00:00:00Z", true, format!(" {micro} \"Z\" as \".000000\"")),
            ("2020-01-01T00:00:00.1234567Z", true, format!(" {micro} \"7Z\" as \"Z07:00\"")),
            ("2020-01-01", false, format!(" {plain} \"\" as \"T\"")),
            ("bad", false, format!(" {plain} \"bad\" as \"2006\"")),
            ("2020-13-01T00:00:00Z", false, ": month out of range".to_owned()),
            ("2021-02-29T00:00:00Z", false, ": day out of range".to_owned()),
            ("2020-01-01T00:00:00Zx", false, ": extra text: \"x\"".to_owned()),
        ];
        for (text, micro, why) in table {
            let want = if why.is_empty() { Ok(()) } else { Err(format!("parsing time {text:?}{why}")) };
            assert_eq!(check(text, micro), want);
        }
    }
}
