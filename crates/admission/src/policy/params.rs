//! The parameters that a binding gives to its policy.

use super::compiled::{Binding, Policy};
use crate::Request;
use crate::expressions::Judges;
use crate::world::Version;
use ironclad_api::labels::Labels;
use ironclad_api::{GroupVersionKind, object};
use ironclad_json::{Map, Value};
use std::sync::Arc;

/// The kind of a policy's parameters as it is served; an error says that it is not.
pub(super) fn kind(judges: &Judges, policy: &Policy) -> Result<Option<Version>, String> {
    let Some(kind) = &policy.param_kind else { return Ok(None) };
    let found = judges.world.of_kind(kind).or_else(|| judges.world.of_lower_kind(kind)).ok_or_else(|| {
        let GroupVersionKind { group, version, kind } = kind;
        format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")
    });
    found.map(Some)
}

/// The parameters for a request, one evaluation for each; null stands for none at all. An error says what is wrong
/// with the binding.
pub(super) async fn collect(
    judges: &Judges,
    version: Option<&Version>,
    binding: &Binding,
    request: &Request,
) -> Result<Vec<Arc<Value>>, String> {
    let none = || Ok(vec![Arc::new(Value::Null)]);
    let Some(version) = version else { return none() };
    let kind = &version.kind;
    let Some(reference) = &binding.params else { return none() };
    let namespace = match (version.namespaced, reference.namespace.as_str()) {
        (false, "") => "",
        (false, _) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
        (true, "") if request.namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
        (true, "") => &request.namespace,
        (true, given) => given,
    };
    let resource = version.resource.group_resource();
    let found: Vec<Arc<Value>> = if reference.name.is_empty() {
        let selector = reference.selector.as_ref().map_err(Clone::clone)?;
        let fits = |o: &Arc<Value>| selector.matches(&labels(o));
        judges.source.list(&resource, namespace).into_iter().filter(fits).collect()
    } else {
        judges.source.get(&resource, namespace, &reference.name).into_iter().collect()
    };
    if found.is_empty() && !reference.may_miss {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    let mut out = Vec::with_capacity(found.len());
    for param in found {
        if object::gvk(&param) == *kind {
            out.push(param);
            continue;
        }
        let converted = judges.world.convert((*param).clone(), kind).await;
        out.push(Arc::new(converted.map_err(|e| e.message)?));
    }
    Ok(out)
}

fn labels(object: &Value) -> impl Labels {
    object["metadata"]["labels"].as_object().cloned().unwrap_or_else(Map::new)
}
