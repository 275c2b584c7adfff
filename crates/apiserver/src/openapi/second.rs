//! The document of version 2, which has all that is served in one: put together from pieces, one for each version of a
//! group, that are made once and kept until that version changes. A change to one group makes no other anew, and no
//! more than one version is ever held as values.

use super::resource;
use super::splice::{Piece, Spliced};
use crate::aggregate::Part;
use crate::catalog::{Table, Version};
use bytes::Bytes;
use ironclad_json::{Map, Value};
use ironclad_schema::openapi::{self, Sources, v2_message};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io::Result;
use std::sync::{Arc, OnceLock};

/// What a version of a group adds.
pub(crate) struct Added {
    paths: Piece,
    definitions: Piece,
}

/// What stands there whatever custom resources are served, but for what each version of a group adds.
struct Base {
    /// The release and the tags of the built-in versions.
    tag: String,
    head: Vec<u8>,
    parameters: Piece,
    added: Added,
}

/// The base of both forms, as it was made last.
#[derive(Default)]
pub(crate) struct Kept([Mutex<Option<Arc<Base>>>; 2]);

/// In which form a document is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Protobuf,
}

impl Form {
    fn paths(self, paths: &Map) -> Result<Piece> {
        match self {
            Self::Json => inside(paths),
            Self::Protobuf => Piece::new(&v2_message::paths(paths)),
        }
    }

    fn definitions(self, definitions: &Map) -> Result<Piece> {
        match self {
            Self::Json => inside(definitions),
            Self::Protobuf => Piece::new(&v2_message::definitions(definitions)),
        }
    }

    fn added(self, paths: &Map, definitions: &Map) -> Result<Added> {
        Ok(Added { paths: self.paths(paths)?, definitions: self.definitions(definitions)? })
    }
}

/// The entries of an object without the braces.
fn inside(map: &Map) -> Result<Piece> {
    let text = serde_json::to_vec(map).map_err(std::io::Error::other)?;
    Piece::new(&text[1..text.len() - 1])
}

/// The types with their texts, unpacked when somebody needs them.
#[derive(Default)]
struct Lazy(Option<Sources>);

impl Lazy {
    fn get(&mut self) -> &Sources {
        self.0.get_or_insert_with(Sources::default)
    }
}

/// The document as the parts of a gzip file. `others` is what other servers add.
pub(super) fn document(
    kept: &Kept,
    table: &Table,
    release: &str,
    protobuf: bool,
    others: &[Arc<Part>],
) -> Result<Vec<Bytes>> {
    let form = if protobuf { Form::Protobuf } else { Form::Json };
    let mut sources = Lazy::default();
    let base = base(kept, table, release, form, &mut sources)?;
    let mut all = vec![];
    for version in versions(table) {
        let added = match slot(version, form).get() {
            Some(added) => added.clone(),
            None => keep(version, form, &sources.get().v2_part(&resources(version)))?,
        };
        all.push(added);
    }
    if !others.is_empty() {
        let foreign = foreign(table, others, sources.get());
        all.push(Arc::new(form.added(&foreign.0, &foreign.1)?));
    }
    let added: Vec<&Added> = std::iter::once(&base.added).chain(all.iter().map(|a| &**a)).collect();
    splice(form, &base, &added)
}

fn slot(version: &Version, form: Form) -> &OnceLock<Arc<Added>> {
    &version.second[usize::from(form == Form::Protobuf)]
}

/// Keeps what a version adds.
fn keep(version: &Version, form: Form, part: &openapi::Part) -> Result<Arc<Added>> {
    let made = Arc::new(form.added(&part.paths, &part.definitions)?);
    Ok(slot(version, form).get_or_init(|| made).clone())
}

fn splice(form: Form, base: &Base, added: &[&Added]) -> Result<Vec<Bytes>> {
    let mut out = Spliced::new();
    out.text(&base.head)?;
    let comma = Piece::new(b",")?;
    let sections: [(u32, &[u8], Vec<&Piece>); 3] = [
        (v2_message::PARAMETERS, b",\"parameters\":{", vec![&base.parameters]),
        (v2_message::DEFINITIONS, b"},\"definitions\":{", added.iter().map(|a| &a.definitions).collect()),
        (v2_message::PATHS, b"},\"paths\":{", added.iter().map(|a| &a.paths).collect()),
    ];
    for (tag, open, pieces) in sections {
        match form {
            Form::Json => out.text(open)?,
            Form::Protobuf => out.text(&openapi::open_bytes(tag, pieces.iter().map(|p| p.len()).sum()))?,
        }
        let mut first = true;
        for piece in pieces.into_iter().filter(|p| !p.is_empty()) {
            if !first && form == Form::Json {
                out.add(&comma);
            }
            out.add(piece);
            first = false;
        }
    }
    if form == Form::Json {
        out.text(b"}}")?;
    }
    Ok(out.finish())
}

fn resources(version: &Version) -> Vec<openapi::Resource> {
    version.kinds().iter().map(|k| resource(k)).collect()
}

fn is_custom(version: &Version) -> bool {
    version.kinds().iter().any(|k| k.custom.is_some())
}

fn versions(table: &Table) -> impl Iterator<Item = &Version> {
    table.groups().iter().flat_map(|g| g.versions())
}

/// The built-in groups by their names.
pub(super) fn built_in(table: &Table) -> Vec<&str> {
    let groups = table.groups().iter().filter(|g| g.versions().iter().any(|v| !is_custom(v)));
    groups.map(|g| g.name()).collect()
}

fn base(kept: &Kept, table: &Table, release: &str, form: Form, sources: &mut Lazy) -> Result<Arc<Base>> {
    let own = || versions(table).filter(|v| !is_custom(v));
    let tag = own().fold(release.to_owned(), |tag, v| tag + v.tag(release));
    let slot = &kept.0[usize::from(form == Form::Protobuf)];
    if let Some(base) = slot.lock().as_ref().filter(|b| b.tag == tag) {
        return Ok(base.clone());
    }
    let sources = sources.get();
    let root = sources.v2_root(&built_in(table));
    let (mut parameters, mut wanted) = (root.parameters, root.wanted);
    for version in own() {
        let part = sources.v2_part(&resources(version));
        keep(version, form, &part)?;
        parameters.extend(part.parameters);
        wanted.extend(part.wanted);
    }
    // Custom resources share what all of them have.
    let example = sources.v2_part(&[example()]);
    parameters.extend(example.parameters);
    wanted.extend(example.wanted);
    let added = Added { paths: form.paths(&root.paths)?, definitions: definitions(form, sources, &wanted)? };
    let head = openapi::v2_head(release);
    let head = match form {
        Form::Protobuf => v2_message::head(&head),
        Form::Json => {
            let mut text = serde_json::to_vec(&head).map_err(std::io::Error::other)?;
            text.pop();
            text
        }
    };
    let parameters = match form {
        Form::Json => inside(&parameters)?,
        Form::Protobuf => Piece::new(&v2_message::parameters(&parameters))?,
    };
    let made = Arc::new(Base { tag, head, parameters, added });
    *slot.lock() = Some(made.clone());
    Ok(made)
}

/// The definitions of built-in types. They are many, so that only one is held as a value.
fn definitions(form: Form, sources: &Sources, wanted: &BTreeSet<String>) -> Result<Piece> {
    let mut text = Vec::new();
    let mut failed = None;
    sources.v2_definitions(wanted, &mut |name, schema| {
        let one = Map::from_iter([(name, schema)]);
        match form {
            Form::Protobuf => text.extend(v2_message::definitions(&one)),
            Form::Json => match serde_json::to_vec(&one) {
                Ok(entry) => {
                    if !text.is_empty() {
                        text.push(b',');
                    }
                    text.extend_from_slice(&entry[1..entry.len() - 1]);
                }
                Err(error) => failed = Some(std::io::Error::other(error)),
            },
        }
    });
    failed.map_or_else(|| Piece::new(&text), Err)
}

/// A custom resource with everything that one can have.
fn example() -> openapi::Resource {
    let scale = ironclad_api::GroupVersionKind::new("autoscaling", "v1", "Scale");
    let below = |name: &str, kind| openapi::Subresource {
        name: name.to_owned(),
        kind,
        verbs: ironclad_kinds::Verb::GET_PATCH_UPDATE.iter().map(|v| v.as_str()).collect(),
    };
    openapi::Resource {
        gvk: ironclad_api::GroupVersionKind::new("example.com", "v1", "Example"),
        list_kind: "ExampleList".to_owned(),
        plural: "examples".to_owned(),
        namespaced: true,
        verbs: ironclad_kinds::Verb::ALL.iter().map(|v| v.as_str()).collect(),
        subresources: vec![below("status", None), below("scale", Some(scale))],
        schema: Some(ironclad_json::json!({"type": "object", "properties": {}})),
        selectable: Vec::new(),
    }
}

/// The paths and definitions of other servers, beside ours.
fn foreign(table: &Table, others: &[Arc<Part>], sources: &Sources) -> (Map, Map) {
    let ours = |name: &str| -> Option<Value> {
        if ironclad_schema::bundle().definition(name).is_some() {
            let mut found = None;
            sources.v2_definitions(&BTreeSet::from([name.to_owned()]), &mut |one, schema| {
                if one == name {
                    found = Some(schema);
                }
            });
            return found;
        }
        versions(table).filter(|v| is_custom(v)).find_map(|v| sources.v2_part(&resources(v)).definitions.remove(name))
    };
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for part in others {
        part.merge_into(&mut paths, &mut definitions, &ours);
    }
    (paths, definitions)
}
