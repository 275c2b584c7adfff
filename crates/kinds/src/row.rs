//! A kind is a row: everything generic about it as data. Custom resources make rows at run time.

use crate::Strategy;
use crate::custom::Custom;
use ironclad_api::{GroupResource, GroupVersionKind, GroupVersionResource};
use std::borrow::Cow;
use std::sync::Arc;

/// Text that is part of the program for built-in kinds and made at run time for custom ones.
pub type Text = Cow<'static, str>;

/// What can be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the API's verbs")]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// All verbs, which is what most kinds offer.
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];
    /// For requests in the form of objects that are not stored, such as reviews.
    pub const CREATE: &'static [Self] = &[Self::Create];
    /// For status and scale.
    pub const GET_PATCH_UPDATE: &'static [Self] = &[Self::Get, Self::Patch, Self::Update];

    /// The verb as discovery and RBAC name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// Whether a version is served without being asked for (`--runtime-config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Yes: generally available.
    Default,
    /// Only when it is turned on: alpha and beta.
    OptIn,
    /// Not at all, but objects are stored in it.
    Stored,
}

/// That a version goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// What clients of the version are warned of.
    pub warning: String,
    /// The release without it, for example `1.39`; empty where none is named.
    pub removed: String,
}

/// What becomes of an object's dependents when a deletion does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// They are collected.
    Collected,
    /// They stay: what the first versions of ReplicationController and Job promised. The text warns of it.
    Orphaned(&'static str),
    /// It has none, so that a deletion never waits for them.
    None,
}

/// Something below an object: `status`, `scale`, `exec`, ...
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Its name in the path.
    pub name: Text,
    /// The kind that is sent and answered, where it is not the object's own.
    pub kind: Option<(Text, Text, Text)>,
    /// Its verbs.
    pub verbs: &'static [Verb],
}

/// Everything generic about a kind in one version.
#[derive(Clone)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: Text,
    /// Version of this row.
    pub version: Text,
    /// Kind, for example `Pod`.
    pub kind: Text,
    /// Plural in paths, for example `pods`.
    pub plural: Text,
    /// Singular on the command line, for example `pod`.
    pub singular: Text,
    /// Short names, for example `po`.
    pub short_names: Vec<Text>,
    /// Categories, for example `all`.
    pub categories: Vec<Text>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done. Without `Get` and `Create` alone it is a request, never stored.
    pub verbs: &'static [Verb],
    /// What is below an object.
    pub subresources: Vec<Subresource>,
    /// Whether the version is served by default.
    pub served: Served,
    /// The group in which objects are stored: its own, but the core group for events.k8s.io.
    pub storage_group: Text,
    /// The version in which objects of this group and resource are stored.
    pub storage_version: Text,
    /// The store's prefix, for example `/registry/pods/`; the same for all versions.
    pub prefix: Text,
    /// Fields that field selectors can name, besides `metadata.name` and `metadata.namespace`.
    pub selectable: Vec<Text>,
    /// Whether a `PUT` or an apply patch of a missing object creates it.
    pub create_on_update: bool,
    /// Whether `metadata.generation` counts changes of the specification.
    pub generation: bool,
    /// What becomes of dependents by default.
    pub dependents: Dependents,
    /// How the kind's list is called, for example `PodList`.
    pub list_kind: Text,
    /// The feature gate without which it is not served; empty for none.
    pub gate: &'static str,
    /// That the version goes.
    pub deprecation: Option<Deprecation>,
    /// What is particular to the kind.
    pub strategy: Arc<dyn Strategy>,
    /// For custom resources: what their definition says besides.
    pub custom: Option<Arc<Custom>>,
}

impl Kind {
    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// Group, version and plural.
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource::new(&self.group, &self.version, &self.plural)
    }

    /// Group and plural.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.plural)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        ironclad_api::resource::api_version(&self.group, &self.version)
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether `verb` is offered.
    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.gvk().fmt(f)
    }
}
