//! URLs as Go reads them: what is a mistake, and the words for it.

use crate::go_quote;

/// The parts of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    /// Without its colon, in small letters.
    pub scheme: String,
    /// Name and password, if there are any.
    pub user: Option<String>,
    /// With the port.
    pub host: String,
    /// Behind the host.
    pub path: String,
    /// Behind a question mark.
    pub query: String,
    /// Behind a hash.
    pub fragment: String,
}

/// Takes a URL apart.
pub fn parse(text: &str) -> Result<Url, String> {
    let (bare, fragment) = text.split_once('#').unwrap_or((text, ""));
    let mut url = parts(bare).map_err(|why| format!("parse {}: {why}", go_quote(bare)))?;
    escapes(fragment).map_err(|why| format!("parse {}: {why}", go_quote(text)))?;
    fragment.clone_into(&mut url.fragment);
    Ok(url)
}

fn parts(text: &str) -> Result<Url, String> {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (scheme, rest) = scheme(text)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url { scheme: scheme.to_ascii_lowercase(), query: query.to_owned(), ..Url::default() };
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            return Ok(url);
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let path = match rest.strip_prefix("//") {
        Some(behind) if !scheme.is_empty() || !behind.starts_with('/') => {
            let (authority, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
            let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
            check_host(host)?;
            if let Some(user) = user {
                check_user(user)?;
            }
            (url.user, url.host) = (user.map(str::to_owned), host.to_owned());
            path
        }
        _ => rest,
    };
    escapes(path)?;
    path.clone_into(&mut url.path);
    Ok(url)
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_user(user: &str) -> Result<(), String> {
    let right = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    match user.chars().all(right) {
        true => escapes(user),
        false => Err("net/url: invalid userinfo".to_owned()),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |at| &host[at..])
    };
    let number = |port: &str| port.strip_prefix(':').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    if !port.is_empty() && !number(port) {
        return Err(format!("invalid port {} after host", go_quote(port)));
    }
    let right = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || "!$&'()*+,;=:[]<>\"-_.~%".contains(c);
    if let Some(wrong) = host.chars().find(|c| !right(*c)) {
        return Err(format!("invalid character {} in host name", go_quote(&wrong.to_string())));
    }
    match host.starts_with('[') {
        true => Ok(()),
        false => escapes(host),
    }
}

fn escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let behind = &text.as_bytes()[at + 1..];
        if behind.len() < 2 || !behind[..2].iter().all(u8::is_ascii_hexdigit) {
            let shown: String = text[at..].chars().take(3).collect();
            return Err(format!("invalid URL escape {}", go_quote(&shown)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_mistakes_are_those_of_go() {
        let url = parse("HTTPS://u:p@a:1/b?c=d#e").unwrap();
        assert_eq!((&*url.scheme, url.user.as_deref(), &*url.host), ("https", Some("u:p"), "a:1"));
        assert_eq!((&*url.path, &*url.query, &*url.fragment), ("/b", "c=d", "e"));
        let table = [
            ("://", "parse \"://\": missing protocol scheme"),
            (" https://a", "parse \" https://a\": first path segment in URL cannot contain colon"),
            ("https://a:x", "parse \"https://a:x\": invalid port \":x\" after host"),
            ("https://a b#c", "parse \"https://a b\": invalid character \" \" in host name"),
            ("https://[::1", "parse \"https://[::1\": missing ']' in host"),
            ("https://a/%zz", "parse \"https://a/%zz\": invalid URL escape \"%zz\""),
            ("https://a\n", "parse \"https://a\\n\": net/url: invalid control character in URL"),
        ];
        for (text, why) in table {
            assert_eq!(parse(text).unwrap_err(), why);
        }
        for text in ["", "a", "//a", "https://", "unix:///a b", "https://a?", "https://a#", "unix:x"] {
            parse(text).unwrap();
        }
    }
}
