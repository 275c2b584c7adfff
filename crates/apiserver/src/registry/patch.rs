//! Patches of all four sorts.

use super::update::Changed;
use super::{Answer, Input, Registry, Request, input, shape};
use http::HeaderMap;
use ironclad_api::{ApiError, Reason, object, time};
use ironclad_schema::{Shape, apply, bundle, patch};
use serde_json::{Value, json};

/// The sorts of patches, by content type.
enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Input),
}

fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Patch, ApiError> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let value = || input::decode(&HeaderMap::new(), bytes).map(|i| i.value);
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Patch::Json(value()?)),
        "application/merge-patch+json" => Ok(Patch::Merge(value()?)),
        "application/strategic-merge-patch+json" => Ok(Patch::Strategic(value()?)),
        "application/apply-patch+yaml" => Ok(Patch::Apply(input::parse_yaml(bytes)?)),
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
            Err(ApiError::new(Reason::UnsupportedMediaType, message))
        }
    }
}

impl Registry {
    pub(crate) async fn patch(
        &self,
        request: &Request<'_>,
        headers: &HeaderMap,
        bytes: &[u8],
    ) -> Result<Answer, ApiError> {
        match parse(headers, bytes)? {
            Patch::Apply(config) => self.apply(request, config).await,
            other => self.change(request, |old| self.patched(request, old, &other)).await,
        }
    }

    fn patched(&self, request: &Request<'_>, old: &Value, patch: &Patch) -> Result<Changed, ApiError> {
        let mut new = old.clone();
        // The version stays where patches can test or replace it; one that ends up different insists on its own.
        match patch {
            Patch::Json(p) => patch::json(&mut new, p)?,
            Patch::Merge(p) => {
                if !p.is_object() {
                    return Err(ApiError::bad_request("a merge patch must be an object"));
                }
                patch::merge(&mut new, p);
            }
            Patch::Strategic(p) => {
                let Some(Shape::Object(id)) = shape(request.kind) else {
                    let message = "the strategic merge patch is not supported for this resource";
                    return Err(ApiError::new(Reason::UnsupportedMediaType, message));
                };
                new = patch::strategic(bundle(), id, &new, p)?;
            }
            Patch::Apply(_) => return Err(ApiError::internal("an apply has a way of its own")),
        }
        let (object, warnings) = request.check(request.kind, Input { value: new, duplicates: Vec::new() })?;
        Ok(Changed { object, warnings, applied: None })
    }

    /// Server-side apply: creates the object, or lays the configuration over it.
    async fn apply(&self, request: &Request<'_>, config: Input) -> Result<Answer, ApiError> {
        if request.query().get("fieldManager").is_empty() {
            return Err(ApiError::bad_request(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        }
        if !config.value["metadata"]["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let (mut config, warnings) = request.check(request.kind, config)?;
        request.settle_namespace(&mut config)?;
        if object::name(&config).is_empty() {
            object::metadata_mut(&mut config).insert("name".into(), request.info.name.clone().into());
        }
        let shape = || shape(request.kind).ok_or_else(|| ApiError::internal("the kind has no type"));
        let manager = apply::Manager {
            name: request.manager(),
            operation: apply::Operation::Apply,
            api_version: request.kind.api_version(),
            subresource: request.info.subresource.clone(),
            time: time::now(),
        };
        let force = request.query().flag("force");
        let missing = self.entry(&request.key(&request.info.name)).await?.is_none();
        if missing && request.info.subresource.is_empty() {
            let schema = apply::Schema { bundle: bundle(), shape: shape()? };
            if !object::resource_version(&config).is_empty() || !object::uid(&config).is_empty() {
                return Err(request.not_found());
            }
            let object = apply::apply(&schema, &Value::Null, &config, &manager, force)?;
            let (answer, more) = self.create_checked(request, object, Some(&manager)).await?;
            return Ok(Answer { code: 201, warnings: [warnings, more].concat(), ..answer });
        }
        self.change(request, |old| {
            let schema = apply::Schema { bundle: bundle(), shape: shape()? };
            let mut live = old.clone();
            let version = object::resource_version(&config).to_owned();
            object::metadata_mut(&mut live).insert("resourceVersion".into(), json!(version));
            let mut object = apply::apply(&schema, &live, &config, &manager, force)?;
            if version.is_empty() {
                object::metadata_mut(&mut object).remove("resourceVersion");
            }
            Ok(Changed { object, warnings: warnings.clone(), applied: Some(manager.clone()) })
        })
        .await
    }
}
