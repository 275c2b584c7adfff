//! Requests to the API server: paths, headers, bodies.

use ironclad_apiserver::untrusted;

pub(crate) const PATH_WORDS: &[&str] = &[
    "/api/v1",
    "/apis/",
    "/namespaces/",
    "/pods",
    "/watch/",
    "/proxy/",
    "/log",
    "/exec",
    "/status",
    "..",
    "%2e%2e",
    "%2F",
    "%00",
    "//",
    "?",
    "&",
    "=",
    "watch=1",
    "+",
    "%",
    ";",
    "#",
    "http:",
    ":8080",
];
pub(crate) const ACCEPT_WORDS: &[&str] = &[
    "application/",
    "json",
    "yaml",
    "vnd.kubernetes.protobuf",
    "*/*",
    ";",
    ",",
    "q=",
    "0.5",
    "as=Table",
    "v=v1",
    "g=meta.k8s.io",
    "as=PartialObjectMetadataList",
    "pretty=1",
    "stream=watch",
    "cbor",
    "charset=utf-8",
    "\"",
    "profile=nopeer",
];
pub(crate) const YAML_WORDS: &[&str] = &[
    "&a ",
    "*a",
    "<<: ",
    "- ",
    ": ",
    "\n",
    "  ",
    "|",
    ">",
    "---\n",
    "...",
    "!!binary ",
    "!!str ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "#",
    "%YAML",
    "0o17",
    "0x1F",
    "1_000",
    "yes",
    "~",
    ".inf",
    "2026-01-01",
];

pub(crate) fn path(data: &[u8]) {
    untrusted::request(data);
}

pub(crate) fn accept(data: &[u8]) {
    untrusted::accept(data);
}

pub(crate) fn body(data: &[u8]) {
    untrusted::body(data);
}

pub(crate) fn yaml(data: &[u8]) {
    untrusted::yaml(data);
}
