//! What strangers send: one function for each parser of bytes from outside.
//!
//! Invariants: a function takes any bytes and returns; it panics when a law of its parser is broken, which is what
//! fuzzers and the test over the seeds look for. `fuzz/` runs the same functions under libFuzzer.

mod frames;
mod mutate;
mod objects;
mod requests;
mod schemas;
mod text;

pub use mutate::Mutator;

/// A parser that meets bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its fuzz target and of the directory of its seeds.
    pub name: &'static str,
    /// Feeds it with bytes.
    pub run: fn(&[u8]),
    /// Bytes that are worth inserting.
    pub words: &'static [&'static str],
}

const fn target(name: &'static str, run: fn(&[u8]), words: &'static [&'static str]) -> Target {
    Target { name, run, words }
}

/// Every parser.
pub const TARGETS: &[Target] = &[
    target("request", requests::path, requests::PATH_WORDS),
    target("accept", requests::accept, requests::ACCEPT_WORDS),
    target("body", requests::body, objects::JSON_WORDS),
    target("yaml", requests::yaml, requests::YAML_WORDS),
    target("selectors", text::selectors, text::SELECTOR_WORDS),
    target("values", text::values, text::VALUE_WORDS),
    target("json", objects::json, objects::JSON_WORDS),
    target("patches", objects::patches, objects::PATCH_WORDS),
    target("apply", objects::apply, objects::PATCH_WORDS),
    target("protobuf", objects::protobuf, &["k8s\0", "v1", "Pod", "\u{a}", "\u{12}", "\u{1a}"]),
    target("cel", schemas::cel, schemas::CEL_WORDS),
    target("schemas", schemas::schemas, schemas::SCHEMA_WORDS),
    target("websocket", frames::websocket, &["\u{81}", "\u{82}", "\u{88}", "\u{0}", "\u{ff}", "\u{7e}", "\u{7f}"]),
    target("spdy", frames::spdy, &["\u{80}\u{3}\u{0}\u{1}", "\u{80}\u{3}\u{0}\u{7}", "\u{0}\u{0}\u{0}"]),
];

/// The parser called `name`; panics when there is none.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|t| t.name == name);
    (target.expect("the target is in the list").run)(data);
}
