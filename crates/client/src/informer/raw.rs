//! Objects of any kind as they come: one watcher serves all kinds, and each object becomes one of its kind afterwards.
//! The machine code of lists, watches and their retries is there once and not once for each kind.

use ironclad_json::Value;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::{DynamicResourceScope, ObjectMeta};
use kube::runtime::watcher;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use std::borrow::Cow;

/// An object, and of its metadata what a watch needs to know.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    meta: ObjectMeta,
    object: Value,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, object })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// The event as one of a kind.
pub(super) fn typed<K: DeserializeOwned>(event: watcher::Event<Raw>) -> Result<watcher::Event<K>, watcher::Error> {
    let typed = |raw: Raw| {
        let object = K::deserialize(&raw.object);
        object.map_err(|error| watcher::Error::WatchFailed(kube::Error::SerdeError(error)))
    };
    Ok(match event {
        watcher::Event::Apply(raw) => watcher::Event::Apply(typed(raw)?),
        watcher::Event::Delete(raw) => watcher::Event::Delete(typed(raw)?),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(raw) => watcher::Event::InitApply(typed(raw)?),
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    #[test]
    fn an_object_becomes_one_of_its_kind() {
        let raw: Raw = serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "b", "resourceVersion": "7"}, "data": {"k": "v"}}))
        .unwrap();
        assert_eq!(raw.meta().resource_version.as_deref(), Some("7"));
        let watcher::Event::Apply(map) = typed::<ConfigMap>(watcher::Event::Apply(raw)).unwrap() else { panic!() };
        assert_eq!((map.metadata.name.as_deref(), map.data.unwrap()["k"].as_str()), (Some("a"), "v"));
    }

    #[test]
    fn what_is_not_of_the_kind_is_an_error() {
        let raw: Raw = serde_json::from_value(json!({"metadata": {"name": "a"}, "data": 7})).unwrap();
        assert!(typed::<ConfigMap>(watcher::Event::Apply(raw)).is_err());
    }
}
