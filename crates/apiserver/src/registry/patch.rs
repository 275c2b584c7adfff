//! Patches of all four sorts.

use super::update::Changed;
use super::{Answer, Input, Registry, Request, input, options, types};
use http::HeaderMap;
use ironclad_api::{ApiError, Reason, object};
use ironclad_schema::{Shape, patch};
use serde_json::Value;

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
        _ => Err(unsupported(false)),
    }
}

/// 415: a patch of a sort that the kind does not take; custom resources take no strategic merge patches.
fn unsupported(custom: bool) -> ApiError {
    let strategic = if custom { "" } else { "application/strategic-merge-patch+json, " };
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, {strategic}application/apply-patch+yaml"
    );
    ApiError::new(Reason::UnsupportedMediaType, message)
}

impl Registry {
    pub(crate) async fn patch(
        &self,
        request: &Request<'_>,
        headers: &HeaderMap,
        bytes: &[u8],
    ) -> Result<Answer, ApiError> {
        let patch = parse(headers, bytes)?;
        options::check(request, Some(matches!(patch, Patch::Apply(_))))?;
        match patch {
            Patch::Apply(config) => self.apply(request, config).await,
            Patch::Strategic(_) if request.kind.custom.is_some() => Err(unsupported(true)),
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
                let Some((bundle, Shape::Object(id))) = types(request.kind) else {
                    return Err(unsupported(true));
                };
                new = patch::strategic(bundle, id, &new, p)?;
            }
            Patch::Apply(_) => return Err(ApiError::internal("an apply has a way of its own")),
        }
        let (object, warnings) = request.check(request.kind, Input { value: new, duplicates: Vec::new() })?;
        Ok(Changed { object, warnings, applied: false })
    }

    /// Server-side apply: creates the object, or lays the configuration over it.
    async fn apply(&self, request: &Request<'_>, config: Input) -> Result<Answer, ApiError> {
        let (mut config, warnings) = request.check_config(config)?;
        if !config["metadata"]["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        request.settle_namespace(&mut config)?;
        if object::name(&config).is_empty() {
            object::metadata_mut(&mut config).insert("name".into(), request.info.name.clone().into());
        }
        let missing = self.entry(&request.key(&request.info.name)).await?.is_none();
        if missing && request.info.subresource.is_empty() {
            let (resource, uid) = (request.kind.group_resource(), object::uid(&config));
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(ApiError::conflict(&resource, &request.info.name, why));
            }
            if !object::resource_version(&config).is_empty() {
                return Err(request.not_found());
            }
            let object = request.apply_over(&Value::Null, &config)?;
            let (answer, more) = self.create_checked(request, object, true).await?;
            return Ok(Answer { code: 201, warnings: [warnings, more].concat(), ..answer });
        }
        self.change(request, |old| {
            let object = request.apply_over(old, &config)?;
            Ok(Changed { object, warnings: warnings.clone(), applied: true })
        })
        .await
    }
}
