//! The scale subresource: the part of a workload that an autoscaler needs, as `autoscaling/v1 Scale`.

use super::update::Changed;
use super::{Answer, Input, Registry, Request, options};
use bytes::Bytes;
use http::HeaderMap;
use ironclad_api::selector::LabelSelector;
use ironclad_api::{ApiError, FieldError, GroupVersionKind, Path, object};
use ironclad_json::{Value, json};
use ironclad_schema::patch;

/// The kind that the subresource speaks.
pub(super) fn kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

/// Replicas that a custom resource does not have yet.
const UNSET: i64 = -2_147_483_648;

/// The value at a path of keys.
fn at<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |v, key| v.get(key)).filter(|v| !v.is_null())
}

/// Sets the value at a path of keys, and makes what is missing on the way.
fn put_at(value: &mut Value, path: &[String], new: Value) {
    let Some((last, way)) = path.split_last() else { return };
    let mut here = value;
    for key in way {
        object::entry(here, key);
        here = &mut here[key.as_str()];
    }
    here[last.as_str()] = new;
}

/// The scale of a workload, or of a custom resource that says where its parts are.
pub(super) fn scale_of(request: &Request<'_>, workload: &Value) -> Result<Value, ApiError> {
    let Some(paths) = request.kind.custom.as_ref().and_then(|c| c.scale.as_ref()) else {
        return Ok(workload_scale(workload));
    };
    let meta = &workload["metadata"];
    let wanted = at(workload, &paths.spec_replicas).filter(|r| **r != 0);
    let present = at(workload, &paths.status_replicas).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "uid": meta["uid"], "resourceVersion": meta["resourceVersion"],
            "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": {}, "status": {"replicas": present},
    });
    // None is left out, as wherever Go leaves out what is zero.
    if let Some(wanted) = wanted {
        scale["spec"]["replicas"] = wanted.clone();
    }
    if request.kind.namespaced {
        scale["metadata"]["namespace"] = meta["namespace"].clone();
    }
    let selector = paths.selector.as_ref().and_then(|p| at(workload, p)).and_then(Value::as_str).unwrap_or_default();
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    without_nothing(&mut scale);
    Ok(scale)
}

/// Takes away what the workload does not have.
fn without_nothing(scale: &mut Value) {
    object::metadata_mut(scale).retain(|_, value| !value.is_null());
}

/// The scale of a built-in workload.
fn workload_scale(workload: &Value) -> Value {
    let meta = &workload["metadata"];
    let parsed = ironclad_json::from_value(workload["spec"]["selector"].clone()).ok();
    let selector = match workload["kind"] == "ReplicationController" {
        true => {
            let pairs = workload["spec"]["selector"].as_object().into_iter().flatten();
            pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
        }
        false => LabelSelector::from_meta(parsed.as_ref()).map(|s| s.to_string()).unwrap_or_default(),
    };
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": {"replicas": workload["spec"]["replicas"].as_i64().unwrap_or(1)},
        "status": {"replicas": workload["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    // None is left out, as wherever Go leaves out what is zero.
    if scale["spec"]["replicas"] == 0 {
        scale["spec"] = json!({});
    }
    without_nothing(&mut scale);
    scale
}

/// The workload with the replicas of a scale.
pub(super) fn with_replicas(request: &Request<'_>, old: &Value, scale: &Value) -> Result<Value, ApiError> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    let custom = request.kind.custom.as_ref().and_then(|c| c.scale.as_ref());
    if let Some(paths) = custom.filter(|_| replicas == UNSET) {
        let path = paths.spec_replicas.join(".");
        return Err(ApiError::bad_request(format!("the spec replicas field \".{path}\" cannot be empty")));
    }
    // What may stand in a custom resource its own rules say.
    if replicas < 0 && custom.is_none() {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, &json!(replicas), "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", object::name(old), &[error]));
    }
    let mut new = old.clone();
    put_replicas(request, &mut new, json!(replicas));
    if !object::uid(scale).is_empty() {
        object::metadata_mut(&mut new).insert("uid", object::uid(scale).into());
    }
    match object::resource_version(scale) {
        "" => drop(object::metadata_mut(&mut new).remove("resourceVersion")),
        version => drop(object::metadata_mut(&mut new).insert("resourceVersion", json!(version))),
    }
    Ok(new)
}

fn put_replicas(request: &Request<'_>, workload: &mut Value, replicas: Value) {
    match request.kind.custom.as_ref().and_then(|c| c.scale.as_ref()) {
        Some(paths) => put_at(workload, &paths.spec_replicas, replicas),
        None => workload["spec"]["replicas"] = replicas,
    }
}

/// What an applied scale says of its workload.
fn part_of(request: &Request<'_>, old: &Value, scale: &Value) -> Value {
    let mut config = json!({
        "apiVersion": request.kind.api_version(), "kind": request.kind.kind,
        "metadata": {"name": object::name(old), "namespace": object::namespace(old)}, "spec": {},
    });
    if let Some(replicas) = scale["spec"].get("replicas").filter(|r| !r.is_null()) {
        put_replicas(request, &mut config, replicas.clone());
    }
    config
}

/// A conflict as whoever applies a scale knows the fields.
fn as_scale(request: &Request<'_>, mut error: ApiError) -> ApiError {
    let (own, scale) = (format!(" using {}", request.kind.api_version()), " using autoscaling/v1");
    error.message = error.message.replace(&own, scale);
    for cause in error.details.iter_mut().flat_map(|d| &mut d.causes) {
        cause.message = cause.message.replace(&own, scale);
    }
    error
}

impl Registry {
    pub(crate) async fn scale(
        &self,
        request: &Request<'_>,
        headers: &HeaderMap,
        bytes: &Bytes,
    ) -> Result<Answer, ApiError> {
        if request.info.verb == "get" {
            let entry = self.entry(&request.key(&request.info.name)).await?.ok_or_else(|| request.not_found())?;
            let workload = self.load(request, &entry).await?;
            let paths = request.kind.custom.as_ref().and_then(|c| c.scale.as_ref());
            if let Some(paths) = paths.filter(|p| at(&workload, &p.spec_replicas).is_none()) {
                let path = paths.spec_replicas.join(".");
                return Err(ApiError::internal(format!("the spec replicas field \".{path}\" does not exist")));
            }
            return Ok(Answer::value(200, scale_of(request, &workload)?));
        }
        let media = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        let applies = media == "application/apply-patch+yaml";
        if request.info.verb == "patch" {
            options::check(request, Some(applies))?;
        }
        let gvk = kind();
        let mut sent = match &*request.info.verb {
            "update" => super::input::decode_as(headers, bytes, "autoscaling/v1, Kind=Scale")?,
            _ => super::input::decode(headers, bytes)?,
        };
        if request.info.verb == "update" {
            let (value, _) = request.check_body(&gvk, sent)?;
            request.must_be_named(&value)?;
            sent = Input { value, ..Input::default() };
        }
        let sent = sent.value;
        let answer = self
            .change(request, |old| {
                if applies {
                    let config = part_of(request, old, &sent);
                    let (object, empties) = request.apply_over(old, &config).map_err(|e| as_scale(request, e))?;
                    return Ok(Changed { object, empties, warnings: Vec::new(), applied: true });
                }
                let mut scale = scale_of(request, old)?;
                let paths = request.kind.custom.as_ref().and_then(|c| c.scale.as_ref());
                if paths.is_some_and(|p| at(old, &p.spec_replicas).is_none()) {
                    scale["spec"]["replicas"] = json!(UNSET);
                }
                match (&*request.info.verb, media) {
                    ("update", _) => scale = sent.clone(),
                    (_, "application/json-patch+json") => patch::json(&mut scale, &sent)?,
                    _ => {
                        object::metadata_mut(&mut scale).remove("resourceVersion");
                        patch::merge(&mut scale, &sent)?;
                    }
                }
                let (scale, warnings) = request.check_body(&gvk, Input { value: scale, ..Input::default() })?;
                request.must_be_named(&scale)?;
                let object = with_replicas(request, old, &scale)?;
                Ok(Changed { warnings, ..Changed::of(object) })
            })
            .await?;
        let mut workload = super::convert::answered(request, &answer.object);
        if request.dry_run()
            && let Some(entry) = self.entry(&request.key(&request.info.name)).await?
        {
            object::metadata_mut(&mut workload).insert("resourceVersion", json!(entry.modified.to_string()));
        }
        Ok(Answer { warnings: answer.warnings, ..Answer::value(200, scale_of(request, &workload)?) })
    }
}
