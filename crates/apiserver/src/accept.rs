//! What form of an answer a client wants: `Accept` with its qualities and parameters, `pretty`, `Accept-Encoding`.
//!
//! Pure: headers and query in, a choice or a refusal out, by the rules of stock's negotiation.

use crate::request::Query;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use ironclad_api::{ApiError, Reason};

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
    /// Only with its feature gate.
    Cbor,
}

impl Media {
    /// In the order in which they are offered.
    const ALL: [Self; 4] = [Self::Json, Self::Yaml, Self::Protobuf, Self::Cbor];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
            Self::Cbor => "application/cbor",
        }
    }
}

/// In which form a client wants objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// As they are.
    Object,
    /// As a `Table`.
    Table,
    /// Only their metadata.
    Partial,
}

/// What a client accepts, the best of what is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) view: View,
    pub(crate) media: Media,
    /// The version of `meta.k8s.io` of tables and partial objects.
    pub(crate) beta: bool,
    /// Whether a person reads it.
    pub(crate) pretty: bool,
    /// Whether partial objects were asked for as a list.
    pub(crate) list: bool,
}

/// What can be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Whether objects of the kind can be protobuf.
    pub(crate) protobuf: bool,
    /// Whether it can be a table: requests in the form of objects cannot.
    pub(crate) table: bool,
    /// Whether the answer is a stream of events.
    pub(crate) watch: bool,
    /// Whether the feature gate of CBOR is on.
    pub(crate) cbor: bool,
}

impl Accepted {
    /// Plain JSON.
    pub(crate) const JSON: Self =
        Self { view: View::Object, media: Media::Json, beta: false, pretty: false, list: false };

    /// The best clause of `Accept` that can be served.
    pub(crate) fn of(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Self, ApiError> {
        if offer.watch {
            // What could not be a list is refused as one.
            Self::best(headers, query, Offer { watch: false, ..offer })?;
        }
        Self::best(headers, query, offer)
    }

    fn best(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Self, ApiError> {
        let pretty = is_pretty(headers, query);
        let text = accept(headers);
        if text.is_empty() {
            return Ok(Self { pretty, ..Self::JSON });
        }
        let found = clauses(&text).iter().find_map(|clause| clause.choose(offer));
        found.map(|choice| Self { pretty: pretty || choice.pretty, ..choice }).ok_or_else(|| not_acceptable(offer))
    }

    /// The form of an error for a client whose request was not understood so far.
    pub(crate) fn of_error(headers: &HeaderMap, query: &Query, cbor: bool) -> Self {
        let offer = Offer { protobuf: true, table: false, watch: false, cbor };
        let pretty = is_pretty(headers, query);
        let text = accept(headers);
        // An error is a `Status`, which is nothing else: who asks for tables alone gets it in plain JSON.
        let of = |clause: &Clause<'_>| clause.choose(offer).filter(|found| found.view == View::Object);
        // What is said to who accepts nothing is for people.
        let none = Self { pretty: !text.is_empty(), ..Self::JSON };
        let found = clauses(&text).iter().find_map(of).unwrap_or(none);
        Self { pretty: pretty || found.pretty, ..found }
    }

    /// The version of tables and partial objects.
    pub(crate) fn meta_version(self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }

    /// Refuses partial objects in the place of a list of them, and the other way round.
    pub(crate) fn must_fit(self, is_list: bool, kind: &str) -> Result<(), ApiError> {
        if self.view != View::Partial || self.list == is_list {
            return Ok(());
        }
        let why = match is_list {
            true => format!("you requested PartialObjectMetadata, but the requested object is a list ({kind})"),
            false => {
                format!("you requested PartialObjectMetadataList, but the requested object is not a list ({kind})")
            }
        };
        Err(ApiError::new(Reason::NotAcceptable, why))
    }

    /// Whether JSON goes out as it is stored.
    pub(crate) fn is_plain(self) -> bool {
        self.view == View::Object && self.media == Media::Json && !self.pretty
    }
}

/// All `Accept` headers as one.
fn accept(headers: &HeaderMap) -> String {
    let lines: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    lines.join(",")
}

fn not_acceptable(offer: Offer) -> ApiError {
    let offered = Media::ALL.into_iter().filter(|m| match m {
        Media::Json => true,
        Media::Yaml => !offer.watch,
        Media::Protobuf => offer.protobuf,
        Media::Cbor => offer.cbor,
    });
    let stream = if offer.watch { ";stream=watch" } else { "" };
    let names: Vec<String> = offered.map(|m| format!("{}{stream}", m.name())).collect();
    let message = format!("only the following media types are accepted: {}", names.join(", "));
    ApiError::new(Reason::NotAcceptable, message)
}

/// Refuses what stock's router refuses before anybody looks closer: it knows names of media types, and one star.
pub(crate) fn router(headers: &HeaderMap, streams: bool, cbor: bool) -> Result<(), ApiError> {
    let offered = if cbor { &Media::ALL[..] } else { &Media::ALL[..3] };
    let mut names: Vec<&str> = offered.iter().map(|m| m.name()).collect();
    if streams {
        names.extend(["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]);
        names.extend(cbor.then_some("application/cbor-seq"));
    }
    only(headers, &names)
}

/// The same for a route with these media types.
pub(crate) fn only(headers: &HeaderMap, names: &[&str]) -> Result<(), ApiError> {
    let text = accept(headers);
    let known = |part: &str| {
        let media = part.split(';').next().unwrap_or_default().trim();
        media == "*/*" || names.contains(&media)
    };
    if text.is_empty() || text.split(',').any(known) {
        return Ok(());
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", names.join(", "));
    let error = ApiError::new(Reason::NotAcceptable, message);
    Err(ApiError { details: Some(Box::default()), ..error })
}

/// In which form discovery is answered, and whether aggregated, where it can be.
pub(crate) fn discovery(
    headers: &HeaderMap,
    query: &Query,
    whole: bool,
    cbor: bool,
) -> Result<(Accepted, bool), ApiError> {
    let offer = Offer { protobuf: true, table: false, watch: false, cbor };
    let pretty = is_pretty(headers, query);
    let text = accept(headers);
    if text.is_empty() {
        return Ok((Accepted { pretty, ..Accepted::JSON }, false));
    }
    let of = |clause: &Clause<'_>| {
        let value = |name: &str| clause.parameters.iter().rev().find(|p| p.0 == name).map_or("", |p| p.1);
        let aggregated =
            whole && (value("g"), value("v"), value("as")) == ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList");
        if !aggregated && !value("as").is_empty() {
            return None;
        }
        let media = Media::ALL.into_iter().find(|m| clause.names(*m) && (cbor || *m != Media::Cbor))?;
        let pretty = pretty || value("pretty") == "1";
        Some((Accepted { media, pretty, ..Accepted::JSON }, aggregated))
    };
    clauses(&text).iter().find_map(of).ok_or_else(|| not_acceptable(offer))
}

/// Whether a parameter stands somewhere in `Accept`.
pub(crate) fn has_parameter(headers: &HeaderMap, parameter: &str) -> bool {
    accept(headers).split([',', ';']).any(|part| part.trim() == parameter)
}

/// One part of an `Accept` header.
#[derive(Debug, PartialEq)]
pub(crate) struct Clause<'a> {
    pub(crate) main: &'a str,
    pub(crate) sub: &'a str,
    quality: f32,
    pub(crate) parameters: Vec<(&'a str, &'a str)>,
}

/// The clauses, the best first: by quality, then the more special.
pub(crate) fn clauses(text: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = text.split(',').filter_map(clause).collect();
    let special = |c: &Clause<'_>| (c.main != "*", c.sub != "*", c.parameters.len());
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality).then_with(|| special(b).cmp(&special(a))));
    out
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|m| !m.is_empty())?;
    let (main, sub) = match media.split_once('/') {
        Some((main, sub)) => (main.trim(), sub.trim()),
        // Some clients send a lone star.
        None if media == "*" => ("*", "*"),
        None => return None,
    };
    let mut clause = Clause { main, sub, quality: 1.0, parameters: Vec::new() };
    for (name, value) in parts.filter_map(|p| p.split_once('=')) {
        match name.trim() {
            "q" => clause.quality = value.trim().parse().unwrap_or(1.0),
            name => clause.parameters.push((name, value.trim().trim_matches('"'))),
        }
    }
    Some(clause)
}

impl Clause<'_> {
    fn choose(&self, offer: Offer) -> Option<Accepted> {
        Media::ALL.into_iter().filter(|m| self.names(*m)).find_map(|media| self.with(media, offer))
    }

    fn names(&self, media: Media) -> bool {
        match (self.main, self.sub) {
            ("*" | "application", "*") => true,
            (main, sub) => media.name().split_once('/') == Some((main, sub)),
        }
    }

    fn with(&self, media: Media, offer: Offer) -> Option<Accepted> {
        let (mut kind, mut group, mut version, mut pretty) = ("", "", "", false);
        for (name, value) in &self.parameters {
            match *name {
                "as" => kind = value,
                "g" => group = value,
                "v" => version = value,
                "stream" if *value != "watch" || media == Media::Yaml => return None,
                "pretty" => pretty = *value == "1",
                _ => {}
            }
        }
        if offer.watch && media == Media::Yaml || !offer.cbor && media == Media::Cbor {
            return None;
        }
        let beta = version == "v1beta1";
        let view = match (kind, group) {
            ("", "") => View::Object,
            ("Table", "meta.k8s.io") if offer.table && matches!(media, Media::Json | Media::Yaml) => View::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io") => View::Partial,
            _ => return None,
        };
        let fits = view == View::Object || matches!(version, "v1" | "v1beta1");
        let writable = media != Media::Protobuf || offer.protobuf || view == View::Partial;
        let list = kind == "PartialObjectMetadataList";
        (fits && writable).then_some(Accepted { view, media, beta, pretty, list })
    }
}

/// Whether JSON is to be indented: when it is asked for, or when a browser or a terminal's tool asks.
fn is_pretty(headers: &HeaderMap, query: &Query) -> bool {
    match query.get("pretty") {
        "" => {
            let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|a| agent.starts_with(a))
        }
        text => ironclad_api::features::go_bool(text).unwrap_or(false),
    }
}

/// Whether an answer may be compressed.
pub(crate) fn gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING);
    let words = lines.iter().filter_map(|v| v.to_str().ok()).flat_map(|l| l.split(','));
    words.map(|w| w.split(';').next().unwrap_or_default().trim()).any(|w| w == "gzip")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const OBJECTS: Offer = Offer { protobuf: true, table: true, watch: false, cbor: false };

    fn of(accept: &str, offer: Offer) -> Option<(View, Media)> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]);
        Accepted::of(&headers, &Query::default(), offer).ok().map(|a| (a.view, a.media))
    }

    #[test]
    fn the_best_form_that_there_is_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let kubectl = format!("{table},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json");
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let cases = [
            ("", Some((View::Object, Media::Json))),
            ("*/*", Some((View::Object, Media::Json))),
            ("application/*", Some((View::Object, Media::Json))),
            ("application/yaml", Some((View::Object, Media::Yaml))),
            ("application/vnd.kubernetes.protobuf,application/json", Some((View::Object, Media::Protobuf))),
            ("application/json;q=0.5,application/yaml", Some((View::Object, Media::Yaml))),
            ("text/html, application/json;q=0.9, */*;q=0.8", Some((View::Object, Media::Json))),
            ("application/json; charset=utf-8", Some((View::Object, Media::Json))),
            (&kubectl, Some((View::Table, Media::Json))),
            (partial, Some((View::Partial, Media::Protobuf))),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", None),
            ("application/json;as=Table", None),
            ("application/json;as=Other;v=v1;g=meta.k8s.io", None),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Some((View::Object, Media::Json))),
            ("application/json;stream=watch", Some((View::Object, Media::Json))),
            ("text/plain", None),
        ];
        for (accept, want) in cases {
            assert_eq!(of(accept, OBJECTS), want, "{accept}");
        }
    }

    #[test]
    fn custom_resources_have_protobuf_only_of_their_metadata() {
        let offer = Offer { protobuf: false, ..OBJECTS };
        let both = "application/vnd.kubernetes.protobuf,application/json;q=0.1";
        assert_eq!(of(both, offer), Some((View::Object, Media::Json)));
        assert_eq!(of("application/vnd.kubernetes.protobuf", offer), None);
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(of(partial, offer), Some((View::Partial, Media::Protobuf)));
    }

    #[test]
    fn cbor_is_there_only_with_its_gate() {
        let on = Offer { cbor: true, ..OBJECTS };
        assert_eq!(of("application/cbor", OBJECTS), None);
        assert_eq!(of("application/cbor", on), Some((View::Object, Media::Cbor)));
        assert_eq!(of("application/cbor;as=Table;v=v1;g=meta.k8s.io", on), None);
        assert_eq!(of("application/cbor,application/json;q=0.9", OBJECTS), Some((View::Object, Media::Json)));
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html"))]);
        let error = Accepted::of(&headers, &Query::default(), on).unwrap_err();
        assert!(error.message.ends_with("application/vnd.kubernetes.protobuf, application/cbor"), "{error}");
    }

    #[test]
    fn reviews_are_no_tables() {
        let offer = Offer { table: false, ..OBJECTS };
        assert_eq!(of("application/json;as=Table;v=v1;g=meta.k8s.io", offer), None);
    }

    #[test]
    fn watches_have_no_yaml() {
        let offer = Offer { watch: true, ..OBJECTS };
        assert_eq!(of("application/yaml", offer), None);
        let stream = "application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(of(stream, offer), Some((View::Object, Media::Protobuf)));
        assert_eq!(of("application/json;stream=other", offer), None);
    }

    #[test]
    fn a_refusal_names_what_there_is() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html"))]);
        let error = Accepted::of(&headers, &Query::default(), OBJECTS).unwrap_err();
        let want = "only the following media types are accepted: \
            application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!((error.code, error.message.as_str()), (406, want));
    }

    #[test]
    fn compression_is_for_who_asks() {
        let asked = |text| gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))]));
        assert!(asked("deflate, gzip;q=0.5") && asked("gzip") && !asked("identity") && !asked(""));
    }

    #[test]
    fn people_get_indented_json() {
        let agent = |a: &'static str| HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(a))]);
        let (curl, other) = (agent("curl/8"), agent("kubectl/v1"));
        assert!(is_pretty(&curl, &Query::default()));
        assert!(!is_pretty(&curl, &Query::parse("pretty=0")));
        assert!(!is_pretty(&other, &Query::default()));
        assert!(is_pretty(&other, &Query::parse("pretty=true")));
    }
}
