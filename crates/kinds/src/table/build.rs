//! How a row is written: a kind with the usual properties, and a method for each thing that is unusual about it.

use crate::{Kind, Plain, Served, Subresource, Text, Verb};
use std::borrow::Cow;
use std::sync::Arc;

/// Verbs of a connection to a pod.
const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
/// Verbs of an HTTP proxy.
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
const UPDATE: &[Verb] = &[Verb::Update];
const GET: &[Verb] = &[Verb::Get];
/// Everything but `deletecollection`.
const NO_COLLECTION: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
const READ: &[Verb] = &[Verb::Get, Verb::List];

fn texts(items: &[&'static str]) -> Vec<Text> {
    items.iter().map(|s| Cow::Borrowed(*s)).collect()
}

/// A stored kind with all verbs, namespaced, served by default, stored in this version.
pub(super) fn row(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    let alpha_or_beta = version.contains("alpha") || version.contains("beta");
    Kind {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        plural: plural.into(),
        singular: kind.to_lowercase().into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        verbs: Verb::ALL,
        subresources: Vec::new(),
        served: if alpha_or_beta { Served::OptIn } else { Served::Default },
        storage_group: group.into(),
        storage_version: version.into(),
        prefix: format!("/registry/{plural}/").into(),
        selectable: Vec::new(),
        create_on_update: false,
        generation: false,
        list_kind: format!("{kind}List").into(),
        strategy: Arc::new(Plain),
    }
}

/// A request in the form of an object: created, answered, never stored.
pub(super) fn request(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    let mut kind = row(group, version, kind, plural);
    kind.verbs = Verb::CREATE;
    kind.list_kind = "".into();
    kind.prefix = "".into();
    kind
}

/// The words in which rows are written.
pub(super) trait Row: Sized {
    /// Cluster-scoped.
    fn cluster(self) -> Self;
    /// Short names.
    fn short(self, names: &[&'static str]) -> Self;
    /// In category `all`.
    fn in_all(self) -> Self;
    /// In category `api-extensions`.
    fn api_extension(self) -> Self;
    /// With `status`.
    fn status(self) -> Self;
    /// With `scale`, an `autoscaling/v1 Scale`.
    fn scale(self) -> Self;
    /// With a subresource of its own kind.
    fn own(self, name: &'static str, verbs: &'static [Verb]) -> Self;
    /// With a subresource of another kind.
    fn sub(self, name: &'static str, kind: [&'static str; 3], verbs: &'static [Verb]) -> Self;
    /// Stored below another prefix than its plural.
    fn prefix(self, prefix: &'static str) -> Self;
    /// Stored in another version.
    fn stored(self, version: &'static str) -> Self;
    /// With these fields for field selectors.
    fn select(self, fields: &[&'static str]) -> Self;
    /// A `PUT` of a missing object creates it.
    fn upsert(self) -> Self;
    /// Counts changes in `metadata.generation`.
    fn counted(self) -> Self;
    /// With other verbs.
    fn verbs(self, verbs: &'static [Verb]) -> Self;
}

impl Row for Kind {
    fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }
    fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = texts(names);
        self
    }
    fn in_all(mut self) -> Self {
        self.categories.push("all".into());
        self
    }
    fn api_extension(mut self) -> Self {
        self.categories.push("api-extensions".into());
        self
    }
    fn status(self) -> Self {
        self.own("status", Verb::GET_PATCH_UPDATE)
    }
    fn scale(self) -> Self {
        self.sub("scale", ["autoscaling", "v1", "Scale"], Verb::GET_PATCH_UPDATE)
    }
    fn own(mut self, name: &'static str, verbs: &'static [Verb]) -> Self {
        self.subresources.push(Subresource { name: name.into(), kind: None, verbs });
        self
    }
    fn sub(mut self, name: &'static str, [group, version, kind]: [&'static str; 3], verbs: &'static [Verb]) -> Self {
        let kind = Some((group.into(), version.into(), kind.into()));
        self.subresources.push(Subresource { name: name.into(), kind, verbs });
        self
    }
    fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix.into();
        self
    }
    fn stored(mut self, version: &'static str) -> Self {
        self.storage_version = version.into();
        self
    }
    fn select(mut self, fields: &[&'static str]) -> Self {
        self.selectable = texts(fields);
        self
    }
    fn upsert(mut self) -> Self {
        self.create_on_update = true;
        self
    }
    fn counted(mut self) -> Self {
        self.generation = true;
        self
    }
    fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }
}

/// Verb lists by name.
pub(super) mod v {
    use super::Verb;
    pub(in crate::table) const CREATE: &[Verb] = Verb::CREATE;
    pub(in crate::table) const EDIT: &[Verb] = Verb::GET_PATCH_UPDATE;
    pub(in crate::table) const CONNECT: &[Verb] = super::CONNECT;
    pub(in crate::table) const PROXY: &[Verb] = super::PROXY;
    pub(in crate::table) const UPDATE: &[Verb] = super::UPDATE;
    pub(in crate::table) const GET: &[Verb] = super::GET;
    pub(in crate::table) const NO_COLLECTION: &[Verb] = super::NO_COLLECTION;
    pub(in crate::table) const READ: &[Verb] = super::READ;
}
