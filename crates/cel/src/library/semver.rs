//! Semantic versions.

use super::Func;
use super::opaque::Opaque;
use super::strings::one;
use crate::error::Error;
use crate::value::Val;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// `major.minor.patch-pre+build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: String,
}

impl Version {
    fn parse(text: &str, normalize: bool) -> Option<Self> {
        let text = if normalize { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (rest, build) = text.split_once('+').map_or((text, None), |(r, b)| (r, Some(b)));
        let (core, pre) = rest.split_once('-').map_or((rest, None), |(c, p)| (c, Some(p)));
        let mut numbers: Vec<&str> = core.split('.').collect();
        while normalize && numbers.len() < 3 {
            numbers.push("0");
        }
        if numbers.len() != 3 {
            return None;
        }
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        let number = |t: &str| {
            digits(t).then(|| t.parse().ok()).flatten().filter(|_| normalize || t == "0" || !t.starts_with('0'))
        };
        let word = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let pre: Vec<String> = pre.map_or_else(Vec::new, |p| p.split('.').map(str::to_owned).collect());
        let good_pre = pre.iter().all(|p| word(p) && (!digits(p) || p == "0" || !p.starts_with('0')));
        let good_build = build.is_none_or(|b| b.split('.').all(word));
        let numbers = [number(numbers[0])?, number(numbers[1])?, number(numbers[2])?];
        (good_pre && good_build).then(|| Self { numbers, pre, build: build.unwrap_or_default().to_owned() })
    }

    /// The order of precedence, in which builds do not count.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let key = |p: &String| p.parse::<u64>().map_or_else(|_| (1, 0, p.clone()), |n| (0, n, String::new()));
                self.pre.iter().map(key).cmp(other.pre.iter().map(key))
            }
        };
        self.numbers.cmp(&other.numbers).then(pre)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.numbers[0], self.numbers[1], self.numbers[2])?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "semver" => |a| {
            let found = parse(a)?.ok_or_else(|| Error::new("No Major.Minor.Patch elements found"))?;
            Ok(Val::Opaque(Opaque::Semver(Arc::new(found))))
        },
        "isSemver" => |a| Ok(Val::Bool(parse(a)?.is_some())),
        "major" => |a| of(a, 0),
        "minor" => |a| of(a, 1),
        "patch" => |a| of(a, 2),
        _ => return None,
    })
}

fn parse(args: &[Val<'_>]) -> Result<Option<Version>, Error> {
    let normalize = match args.get(1) {
        None => false,
        Some(Val::Bool(b)) => *b,
        Some(_) => return Err(Error::overload()),
    };
    Ok(Version::parse(one(args)?, normalize))
}

fn of<'a>(args: &[Val<'a>], which: usize) -> Result<Val<'a>, Error> {
    match args {
        [Val::Opaque(Opaque::Semver(v))] => Ok(Val::Int(i64::try_from(v.numbers[which]).unwrap_or(i64::MAX))),
        _ => Err(Error::overload()),
    }
}
