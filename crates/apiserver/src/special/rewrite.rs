//! Answers of what is proxied: their links lead to the backend's own paths, and are led back through the proxy.
//!
//! Invariants: only what is a link of a page is changed, the rest passes byte for byte; of a page that comes no more
//! than one tag is held, and a tag that is too long passes as it is.

use crate::Body;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, Uri};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

/// The longest tag or comment that is looked into.
const LONGEST: usize = 64 << 10;

/// Attributes that hold a link, with the elements that they do so in.
const LINKS: [(&str, &[&str]); 15] = [
    ("action", &["form"]),
    ("background", &["body"]),
    ("cite", &["blockquote", "del", "ins", "q"]),
    ("classid", &["object"]),
    ("codebase", &["applet", "object"]),
    ("data", &["object"]),
    ("formaction", &["button", "input"]),
    ("href", &["a", "area", "base", "link"]),
    ("icon", &["command"]),
    ("longdesc", &["frame", "iframe", "img"]),
    ("manifest", &["html"]),
    ("poster", &["video"]),
    ("profile", &["head"]),
    ("src", &["audio", "embed", "frame", "iframe", "img", "input", "script", "source", "video"]),
    ("usemap", &["img", "input", "object"]),
];

/// Elements whose content is no markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];

/// Where a link leads now, and where it should.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// What stands before the backend's paths, without a slash at its end.
    pub(crate) prefix: String,
    /// The backend as the proxy knows it.
    pub(crate) backend: String,
    /// The host that the client asked for.
    pub(crate) host: String,
}

impl Way {
    /// The link through the proxy; `None` when it is right as it is.
    fn through(&self, link: &str) -> Option<String> {
        let link = link.trim();
        let (origin, path) = match link.find("//").filter(|at| *at == 0 || link[..*at].ends_with(':')) {
            Some(at) => {
                let end = link[at + 2..].find(['/', '?', '#']).map_or(link.len(), |i| at + 2 + i);
                (&link[..end], &link[end..])
            }
            None => ("", link),
        };
        let host = origin.rsplit("//").next().unwrap_or_default();
        let ours = host.is_empty() || host == self.backend || host == self.host;
        if !ours || !path.starts_with('/') || path.starts_with(&self.prefix) {
            return None;
        }
        let origin = if host == self.host { origin } else { "" };
        Some(format!("{origin}{}{path}", self.prefix))
    }
}

/// Leads the links of an answer through the proxy.
pub(crate) fn answer(mut answer: Response<Body>, way: Way) -> Response<Body> {
    let headers = answer.headers_mut();
    if let Some(location) = headers.get(LOCATION).and_then(|v| v.to_str().ok()) {
        if let Some(value) = way.through(location).and_then(|l| HeaderValue::from_str(&l).ok()) {
            headers.insert(LOCATION, value);
        }
        return answer;
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let page = kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("text/html"));
    if !page || headers.contains_key(CONTENT_ENCODING) {
        return answer;
    }
    headers.remove(CONTENT_LENGTH);
    answer.map(|body| {
        let state = Some((body, Page::new(way)));
        let pieces = futures::stream::unfold(state, |state| async move {
            let (mut body, mut page) = state?;
            let mut out = Vec::new();
            match body.frame().await {
                Some(Ok(frame)) => {
                    page.take(&frame.into_data().unwrap_or_default(), &mut out);
                    Some((Ok(Frame::data(Bytes::from(out))), Some((body, page))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => Some((Ok(Frame::data(Bytes::from(page.left))), None)),
            }
        });
        StreamBody::new(pieces).boxed_unsync()
    })
}

/// What stands before the backend's path in the client's.
pub(crate) fn prefix(asked: &Uri, backend: &str) -> String {
    let asked = asked.path();
    asked.strip_suffix(backend).unwrap_or(asked).trim_end_matches('/').to_owned()
}

/// A page on its way.
struct Page {
    way: Way,
    /// The begin of a tag whose end is still to come.
    left: Vec<u8>,
    /// The element whose content is no markup.
    raw: Option<&'static str>,
}

enum Piece {
    /// So many bytes are as they are.
    Plain(usize),
    /// So many bytes are a tag.
    Tag(usize),
    /// More must come first.
    More,
}

impl Page {
    fn new(way: Way) -> Self {
        Self { way, left: Vec::new(), raw: None }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.left.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.left);
        let mut at = 0;
        while at < all.len() {
            match self.next(&all[at..]) {
                Piece::Plain(length) => {
                    out.extend_from_slice(&all[at..at + length]);
                    at += length;
                }
                Piece::Tag(length) => {
                    self.tag(&all[at..at + length], out);
                    at += length;
                }
                Piece::More if all.len() - at > LONGEST => {
                    out.extend_from_slice(&all[at..]);
                    at = all.len();
                }
                Piece::More => break,
            }
        }
        self.left = all[at..].to_vec();
    }

    fn next(&mut self, rest: &[u8]) -> Piece {
        let to = |at: Option<usize>| Piece::Plain(at.filter(|n| *n > 0).unwrap_or(rest.len()));
        if let Some(name) = self.raw {
            let close = format!("</{name}");
            let found = rest.windows(close.len()).position(|w| w.eq_ignore_ascii_case(close.as_bytes()));
            return match found {
                Some(0) => {
                    self.raw = None;
                    Piece::Plain(close.len())
                }
                Some(at) => Piece::Plain(at),
                // The end may be cut in two.
                None if rest.len() > close.len() => Piece::Plain(rest.len() - close.len()),
                None => Piece::More,
            };
        }
        if rest[0] != b'<' {
            return to(rest.iter().position(|b| *b == b'<'));
        }
        if rest.starts_with(b"<!--") {
            return rest.windows(3).position(|w| w == b"-->").map_or(Piece::More, |at| Piece::Plain(at + 3));
        }
        match rest.get(1) {
            None => Piece::More,
            Some(b) if b.is_ascii_alphabetic() => end_of_tag(rest).map_or(Piece::More, Piece::Tag),
            Some(b'!') if rest.len() < 4 => Piece::More,
            Some(_) => to(rest[1..].iter().position(|b| *b == b'<').map(|n| n + 1)),
        }
    }

    /// Writes a tag with its links led through the proxy.
    fn tag(&mut self, tag: &[u8], out: &mut Vec<u8>) {
        let stop = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'>');
        let name_end = tag[1..].iter().position(stop).map_or(tag.len(), |n| n + 1);
        let element = String::from_utf8_lossy(&tag[1..name_end]).to_ascii_lowercase();
        self.raw = RAW.into_iter().find(|r| *r == element);
        let mut written = 0;
        for (name, value) in attributes(tag, name_end) {
            let name = String::from_utf8_lossy(&tag[name]).to_ascii_lowercase();
            let is_link = LINKS.iter().any(|(a, elements)| *a == name && elements.contains(&element.as_str()));
            let link = std::str::from_utf8(&tag[value.clone()]).ok().filter(|_| is_link);
            if let Some(through) = link.and_then(|l| self.way.through(l)) {
                out.extend_from_slice(&tag[written..value.start]);
                out.extend_from_slice(through.as_bytes());
                written = value.end;
            }
        }
        out.extend_from_slice(&tag[written..]);
    }
}

/// The length of the tag that begins here; a `>` in quotes does not end it.
fn end_of_tag(rest: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in rest.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(q), b) if q == *b => quote = None,
            _ => {}
        }
    }
    None
}

type Span = std::ops::Range<usize>;

/// Where names and values of attributes stand in a tag.
fn attributes(tag: &[u8], from: usize) -> Vec<(Span, Span)> {
    let skip = |at: usize, is: &dyn Fn(u8) -> bool| {
        tag[at.min(tag.len())..].iter().position(|b| !is(*b)).map_or(tag.len(), |n| at + n)
    };
    let blank = |b: u8| b.is_ascii_whitespace() || b == b'/';
    let mut found = Vec::new();
    let mut at = skip(from, &blank);
    while at < tag.len() && tag[at] != b'>' {
        let end = skip(at + 1, &|b| !blank(b) && !matches!(b, b'=' | b'>'));
        let name = at..end;
        let equals = skip(end, &|b| b.is_ascii_whitespace());
        if tag.get(equals) != Some(&b'=') {
            at = skip(end, &blank);
            continue;
        }
        let start = skip(equals + 1, &|b| b.is_ascii_whitespace());
        let value = match tag.get(start) {
            Some(q @ (b'"' | b'\'')) => start + 1..skip(start + 1, &|b| b != *q),
            _ => start..skip(start, &|b| !b.is_ascii_whitespace() && b != b'>'),
        };
        at = skip((value.end + usize::from(value.start > start)).min(tag.len()), &blank);
        found.push((name, value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> Way {
        Way { prefix: "/api/p/proxy".into(), backend: "10.0.0.1:80".into(), host: "api:6443".into() }
    }

    fn pass(pieces: &[&str]) -> String {
        let (mut page, mut out) = (Page::new(way()), Vec::new());
        pieces.iter().for_each(|p| page.take(p.as_bytes(), &mut out));
        out.extend(page.left);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn links_lead_through_the_proxy() {
        let table = [
            ("/a", Some("/api/p/proxy/a")),
            ("a", None),
            ("", None),
            ("#x", None),
            ("/api/p/proxy/a", None),
            ("http://10.0.0.1:80/a?q", Some("/api/p/proxy/a?q")),
            ("//10.0.0.1:80/a", Some("/api/p/proxy/a")),
            ("https://api:6443/a", Some("https://api:6443/api/p/proxy/a")),
            ("https://elsewhere/a", None),
            ("mailto:a@b", None),
        ];
        for (link, through) in table {
            assert_eq!(way().through(link).as_deref(), through, "{link}");
        }
    }

    #[test]
    fn only_links_of_a_page_change_however_it_arrives() {
        let page = "<!DOCTYPE html><p title='/x'>a < b</p><A class=q HREF=\"/a?b>c\">x</A><img alt src=/i.png>\
                    <!-- <a href='/no'> --><script>if (a<b) '<a href=\"/no\">'</script><form action='/f'/><a href>";
        let want = "<!DOCTYPE html><p title='/x'>a < b</p><A class=q HREF=\"/api/p/proxy/a?b>c\">x</A>\
                    <img alt src=/api/p/proxy/i.png><!-- <a href='/no'> --><script>if (a<b) '<a href=\"/no\">'</script>\
                    <form action='/api/p/proxy/f'/><a href>";
        assert_eq!(pass(&[page]), want);
        for at in 0..page.len() {
            assert_eq!(pass(&[&page[..at], &page[at..]]), want, "cut at {at}");
        }
        let each: Vec<&str> = page.split_inclusive(|_| true).collect();
        assert_eq!(pass(&each), want);
    }

    #[test]
    fn what_never_ends_passes_as_it_is() {
        let endless = format!("<a href='{}", "x".repeat(2 * LONGEST));
        assert_eq!(pass(&[&endless, "'>"]), format!("{endless}'>"));
        assert_eq!(pass(&["<a href="]), "<a href=");
    }

    #[test]
    fn the_prefix_is_what_the_backend_does_not_see() {
        let prefix = |asked: &str, backend| prefix(&asked.parse().unwrap(), backend);
        assert_eq!(prefix("/api/v1/namespaces/a/pods/p/proxy/x/", "/x/"), "/api/v1/namespaces/a/pods/p/proxy");
        assert_eq!(prefix("/api/v1/namespaces/a/pods/p/proxy", "/"), "/api/v1/namespaces/a/pods/p/proxy");
    }
}
