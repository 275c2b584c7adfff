//! URLs, read as the stock server reads them: absolute, or a path alone.

use super::Func;
use super::opaque::Opaque;
use super::strings::one;
use crate::error::Error;
use crate::value::{Dict, Val};
use std::fmt;
use std::sync::Arc;

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fail = |why: &str| Err(format!("URL parse error during conversion from string: parse {text:?}: {why}"));
        if text.is_empty() {
            return fail("empty url");
        }
        if text.chars().any(|c| c.is_ascii_control()) {
            return fail("net/url: invalid control character in URL");
        }
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        let own = |scheme: &str, host: &str, path: &str| Self {
            text: text.to_owned(),
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        };
        if rest.starts_with('/') && !rest.starts_with("//") {
            return Ok(own("", "", rest));
        }
        let Some((scheme, after)) = rest.split_once(':').filter(|(s, _)| is_scheme(s)) else {
            let why = if rest.starts_with(':') { "missing protocol scheme" } else { "invalid URI for request" };
            return fail(why);
        };
        let Some(after) = after.strip_prefix("//") else {
            return if after.starts_with('/') { Ok(own(scheme, "", after)) } else { Ok(own(scheme, "", "")) };
        };
        let (authority, path) = after.find('/').map_or((after, ""), |i| after.split_at(i));
        let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
        let bracket = host.starts_with('[');
        if bracket && !host.contains(']') {
            return fail("missing ']' in host");
        }
        let port = host[host.rfind(']').unwrap_or(0)..].rsplit_once(':').map_or("", |(_, p)| p);
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return fail(&format!("invalid port {:?} after host", format!(":{port}")));
        }
        if host.chars().any(|c| c == ' ' || c == '<' || c == '>') {
            return fail("invalid character \" \" in host name");
        }
        Ok(own(&scheme.to_ascii_lowercase(), host, path))
    }

    fn hostname(&self) -> &str {
        if let Some(inner) = self.host.strip_prefix('[') {
            return inner.split(']').next().unwrap_or_default();
        }
        self.host.rsplit_once(':').map_or(&self.host, |(h, _)| h)
    }

    fn port(&self) -> &str {
        let after = self.host.rfind(']').unwrap_or(0);
        self.host[after..].rsplit_once(':').map_or("", |(_, p)| p)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a text is an absolute URL or the path of one.
pub fn is_url(text: &str) -> bool {
    Address::parse(text).is_ok()
}

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "url" => |a| {
            let address = Address::parse(one(a)?).map_err(Error::new)?;
            Ok(Val::Opaque(Opaque::Url(Arc::new(address))))
        },
        "isURL" => |a| Ok(Val::Bool(Address::parse(one(a)?).is_ok())),
        "getScheme" => |a| of(a, |u| u.scheme.clone()),
        "getHost" => |a| of(a, |u| u.host.clone()),
        "getHostname" => |a| of(a, |u| u.hostname().to_owned()),
        "getPort" => |a| of(a, |u| u.port().to_owned()),
        "getEscapedPath" => |a| of(a, |u| escaped(&u.path)),
        "getQuery" => query,
        _ => return None,
    })
}

fn of<'a>(args: &[Val<'a>], part: fn(&Address) -> String) -> Result<Val<'a>, Error> {
    match args {
        [Val::Opaque(Opaque::Url(url))] => Ok(Val::text(part(url))),
        _ => Err(Error::overload()),
    }
}

/// A path with what may not stand in one escaped.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for b in path.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*%".contains(&b) {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn query<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let [Val::Opaque(Opaque::Url(url))] = args else { return Err(Error::overload()) };
    let mut found: Vec<(String, Vec<Val<'a>>)> = Vec::new();
    for (key, value) in ::url::form_urlencoded::parse(url.query.as_bytes()) {
        let value = Val::text(value.into_owned());
        match found.iter_mut().find(|(k, _)| *k == key) {
            Some((_, values)) => values.push(value),
            None => found.push((key.into_owned(), vec![value])),
        }
    }
    let mut map = Dict::default();
    for (key, values) in found {
        map.insert(Val::text(key), Val::list(values))?;
    }
    Ok(Val::Map(Arc::new(map)))
}
