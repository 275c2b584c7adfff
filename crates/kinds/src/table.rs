//! Every built-in kind, one row each. Rows of one idea stand in one file; [`GROUPS`] puts them into the order of
//! discovery.

mod cluster;
#[cfg(test)]
mod columns;
mod core;
mod extension;
#[cfg(test)]
mod mistakes;
mod network;
mod security;
mod storage;
#[cfg(test)]
mod tests;
mod workloads;

use crate::row::{Dependents, Deprecation, Kind, Served, Subresource, Text, Verb};
use crate::strategy::{Plain, Strategy};
use std::sync::{Arc, LazyLock};

/// A subresource in the table: name, kind where it is another one (group, version, kind), verbs.
type Sub = (&'static str, Option<(&'static str, &'static str, &'static str)>, &'static [Verb]);

#[derive(Clone, Copy)]
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    verbs: &'static [Verb],
    subresources: &'static [Sub],
    fields: &'static [&'static str],
    prefix: &'static str,
    storage: &'static str,
    served: Served,
    gate: &'static str,
    /// The minor versions of Kubernetes since which it is deprecated and in which it goes (0 for none), and whether v1 replaces it.
    deprecated: Option<(u8, u8, bool)>,
    create_on_update: bool,
    generation: bool,
    dependents: Dependents,
    strategy: fn() -> Arc<dyn Strategy>,
}

const STATUS: Sub = ("status", None, Verb::GET_PATCH_UPDATE);
const SCALE: Sub = ("scale", Some(("autoscaling", "v1", "Scale")), Verb::GET_PATCH_UPDATE);
const ALL: &[&str] = &["all"];
const EXTENSIONS: &[&str] = &["api-extensions"];
const GET: &[Verb] = &[Verb::Get];
const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
const UPDATE: &[Verb] = &[Verb::Update];
const READ: &[Verb] = &[Verb::Get, Verb::List];

const fn ns(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Row {
    Row {
        group,
        version,
        kind,
        plural,
        namespaced: true,
        short: &[],
        categories: &[],
        verbs: Verb::ALL,
        subresources: &[],
        fields: &[],
        prefix: "",
        storage: version,
        served: Served::Default,
        gate: "",
        deprecated: None,
        create_on_update: false,
        generation: false,
        dependents: Dependents::Collected,
        strategy: || Arc::new(Plain),
    }
}

const fn cl(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Row {
    let mut row = ns(group, version, kind, plural);
    row.namespaced = false;
    row
}

impl Row {
    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }
    const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }
    const fn subs(mut self, subresources: &'static [Sub]) -> Self {
        self.subresources = subresources;
        self
    }
    const fn status(self) -> Self {
        self.subs(&[STATUS])
    }
    const fn fields(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }
    const fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }
    const fn at(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }
    const fn stored_as(mut self, version: &'static str) -> Self {
        self.storage = version;
        self
    }
    /// The row of the same kind in another version.
    const fn of(mut self, version: &'static str, storage: &'static str) -> Self {
        self.version = version;
        self.storage = storage;
        self
    }
    const fn opt_in(mut self) -> Self {
        self.served = Served::OptIn;
        self
    }
    /// Served only with a feature gate.
    const fn gated(mut self, gate: &'static str) -> Self {
        self.gate = gate;
        self
    }
    /// Deprecated since one minor version of Kubernetes, and gone in another.
    const fn until(mut self, since: u8, gone: u8) -> Self {
        self.deprecated = Some((since, gone, false));
        self
    }
    /// The same, with v1 in its place.
    const fn replaced(mut self, since: u8, gone: u8) -> Self {
        self.deprecated = Some((since, gone, true));
        self
    }
    const fn upsert(mut self) -> Self {
        self.create_on_update = true;
        self
    }
    const fn counted(mut self) -> Self {
        self.generation = true;
        self
    }
    const fn dependents(mut self, dependents: Dependents) -> Self {
        self.dependents = dependents;
        self
    }
    const fn with(mut self, strategy: fn() -> Arc<dyn Strategy>) -> Self {
        self.strategy = strategy;
        self
    }
}

/// The rows of each API group, in the order of discovery.
const GROUPS: &[&[Row]] = &[
    core::CORE,
    extension::AGGREGATION,
    workloads::APPS,
    cluster::EVENTS,
    security::AUTHENTICATION,
    security::AUTHORIZATION,
    workloads::AUTOSCALING,
    workloads::BATCH,
    security::CERTIFICATES,
    network::NETWORKING,
    workloads::POLICY,
    workloads::LIFECYCLE,
    security::ROLES,
    storage::CLASSES,
    extension::POLICIES,
    extension::CUSTOM,
    cluster::SCHEDULING,
    cluster::COORDINATION,
    cluster::RUNTIMES,
    network::DISCOVERY,
    cluster::DEVICES,
    extension::FLOWS,
    extension::INTERNAL,
    storage::MIGRATION,
];

/// Every built-in kind.
pub fn all() -> &'static [Arc<Kind>] {
    static KINDS: LazyLock<Vec<Arc<Kind>>> =
        LazyLock::new(|| GROUPS.iter().copied().flatten().map(|r| Arc::new(build(r))).collect());
    &KINDS
}

fn deprecation(row: &Row, (since, gone, replaced): (u8, u8, bool)) -> Deprecation {
    let Row { group, version, kind, .. } = row;
    let instead = if replaced { format!("; use {group}/v1 {kind}") } else { String::new() };
    let place = if group.is_empty() { String::new() } else { format!("{group}/") };
    let warning = format!("{place}{version} {kind} is deprecated in v1.{since}+");
    match gone {
        0 if row.plural == "endpoints" => {
            let warning = format!("{warning}; use discovery.k8s.io/v1 EndpointSlice");
            Deprecation { warning, removed: String::new() }
        }
        0 => Deprecation { warning, removed: String::new() },
        _ => Deprecation {
            warning: format!("{warning}, unavailable in v1.{gone}+{instead}"),
            removed: format!("1.{gone}"),
        },
    }
}

fn build(row: &Row) -> Kind {
    let texts = |list: &[&'static str]| list.iter().map(|t| Text::Borrowed(t)).collect();
    let sub = |(name, kind, verbs): &Sub| Subresource {
        name: Text::Borrowed(name),
        kind: kind.map(|(g, v, k)| (Text::Borrowed(g), Text::Borrowed(v), Text::Borrowed(k))),
        verbs,
    };
    let prefix = if row.prefix.is_empty() { row.plural } else { row.prefix };
    Kind {
        group: row.group.into(),
        version: row.version.into(),
        kind: row.kind.into(),
        plural: row.plural.into(),
        singular: row.kind.to_lowercase().into(),
        short_names: texts(row.short),
        categories: texts(row.categories),
        namespaced: row.namespaced,
        verbs: row.verbs,
        subresources: row.subresources.iter().map(sub).collect(),
        served: row.served,
        // Events of the other group are those of the core group in another shape.
        storage_group: if row.kind == "Event" { "" } else { row.group }.into(),
        storage_version: row.storage.into(),
        prefix: format!("/registry/{prefix}/").into(),
        selectable: texts(row.fields),
        create_on_update: row.create_on_update,
        generation: row.generation,
        dependents: row.dependents,
        list_kind: format!("{}List", row.kind).into(),
        gate: row.gate,
        deprecation: row.deprecated.map(|d| deprecation(row, d)),
        strategy: (row.strategy)(),
        custom: None,
    }
}
