//! Patches of all four sorts.

use super::input::{Checked, Source};
use super::update::Changed;
use super::{Answer, Input, Registry, Request, input, options, types};
use bytes::Bytes;
use futures::FutureExt;
use http::HeaderMap;
use ironclad_api::{ApiError, Reason, object};
use ironclad_json::Value;
use ironclad_schema::{Shape, json, patch};

/// The sorts of patches, by content type, the plain ones with notes about keys in them.
enum Patch {
    Json(Value, Vec<String>),
    Merge(Value, Vec<String>),
    Strategic(Value, Vec<String>),
    Apply(Input),
}

/// Reads a patch; where unknown fields are looked for, stock reads it twice and says more about what is wrong with it.
fn parse(headers: &HeaderMap, bytes: &Bytes, looks: bool) -> Result<Patch, ApiError> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let plain = |bad: &dyn Fn(String) -> String| {
        let parsed = json::parse(bytes).map_err(|e| ApiError::bad_request(bad(json::in_go(&e, bytes))))?;
        let notes = parsed.duplicates.iter().map(|d| format!("duplicate field {d:?}")).collect();
        Ok::<_, ApiError>((parsed.value, notes))
    };
    let decoding = |why: String| if looks { format!("error decoding patch: {why}") } else { why };
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => {
            let (value, _) = plain(&decoding)?;
            if looks {
                patch::must_be_operations(&value)?;
            }
            let notes = operation_notes(&value, bytes);
            Ok(Patch::Json(value, notes))
        }
        "application/merge-patch+json" => {
            let decoding = |why: String| if looks { decoding(why) } else { "Invalid JSON Patch".to_owned() };
            let (value, notes) = plain(&decoding)?;
            patch::must_be_map(&value).map_err(|why| ApiError::bad_request(decoding(why)))?;
            Ok(Patch::Merge(value, notes))
        }
        "application/strategic-merge-patch+json" => {
            plain(&|why| why).map(|(value, notes)| Patch::Strategic(value, notes))
        }
        "application/apply-patch+yaml" => Ok(Patch::Apply(input::configuration(bytes)?)),
        _ => Err(unsupported(false)),
    }
}

/// 415: a patch of a sort that the kind does not take. Custom resources take no strategic merge patches and say what they
/// take; for the others stock's router answers.
fn unsupported(custom: bool) -> ApiError {
    if custom {
        let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return ApiError::new(Reason::UnsupportedMediaType, message);
    }
    let error = ApiError::new(Reason::UnsupportedMediaType, "415: Unsupported Media Type");
    ApiError { details: Some(Box::default()), ..error }
}

/// Fields of the operations of a JSON patch that are unknown or stand twice, in their order.
fn operation_notes(patch: &Value, bytes: &Bytes) -> Vec<String> {
    let known = |field: &str| matches!(field, "op" | "path" | "from" | "value");
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let fields = operations.flat_map(|(i, op)| op.as_object().into_iter().flatten().map(move |(field, _)| (i, field)));
    let unknown: Vec<String> = fields.filter(|(_, f)| !known(f)).map(|(i, f)| format!("[{i}].{f}")).collect();
    let duplicates = json::parse(bytes).map(|p| p.duplicates).unwrap_or_default();
    let paths: Vec<String> =
        unknown.iter().cloned().chain(duplicates.into_iter().filter(|d| !unknown.contains(d))).collect();
    if paths.is_empty() {
        return paths;
    }
    let mut ordered: Vec<(usize, usize)> = json::places(bytes, &paths).into_iter().zip(0..).collect();
    ordered.sort_unstable();
    let sort = |index: usize| if index < unknown.len() { "unknown" } else { "duplicate" };
    ordered.into_iter().map(|(_, i)| format!("json patch {} field {:?}", sort(i), paths[i])).collect()
}

impl Registry {
    pub(crate) async fn patch(
        &self,
        request: &Request<'_>,
        headers: &HeaderMap,
        bytes: &Bytes,
    ) -> Result<Answer, ApiError> {
        let looks = request.query().get("fieldValidation") != "Ignore";
        let custom = request.kind.custom.is_some();
        let patch = match parse(headers, bytes, looks) {
            Ok(patch) => patch,
            Err(error) if error.reason == Reason::UnsupportedMediaType => return Err(unsupported(custom)),
            Err(error) => return Err(self.unread(request, error).await),
        };
        options::check(request, Some(matches!(patch, Patch::Apply(_))))?;
        match patch {
            Patch::Apply(config) => self.apply(request, config).boxed().await,
            Patch::Strategic(..) if request.kind.custom.is_some() => Err(unsupported(true)),
            other => self.change(request, |old| self.patched(request, old, &other)).await,
        }
    }

    /// What is said of a patch that cannot be read: nothing of itself where there is no object for it.
    async fn unread(&self, request: &Request<'_>, error: ApiError) -> ApiError {
        let applies = request.info.applies;
        if let Err(error) = options::check(request, Some(applies)) {
            return error;
        }
        match self.entry(&request.key(&request.info.name)).await {
            Ok(None) if !applies => request.not_found(),
            Ok(_) => error,
            Err(failed) => failed,
        }
    }

    fn patched(&self, request: &Request<'_>, old: &Value, patch: &Patch) -> Result<Changed, ApiError> {
        // The version stays where patches can test or replace it; one that ends up different insists on its own.
        let (new, source) = match patch {
            Patch::Json(p, notes) => {
                let mut new = old.clone();
                patch::json(&mut new, p)?;
                (new, Source::Patched(notes, patch::Plain::Operations(p)))
            }
            Patch::Merge(p, notes) => {
                let mut new = old.clone();
                patch::merge(&mut new, p)?;
                (new, Source::Patched(notes, patch::Plain::Merge(p)))
            }
            Patch::Strategic(p, notes) => {
                let Some((bundle, Shape::Object(id))) = types(request.kind) else {
                    return Err(unsupported(true));
                };
                (patch::strategic(bundle, id, old, p)?, Source::Strategic(notes, p))
            }
            Patch::Apply(_) => return Err(ApiError::internal("an apply has a way of its own")),
        };
        let Checked { mut object, empties, warnings } = request.check_patched(new, old, source)?;
        request.settle_namespace(&mut object)?;
        // What was noted of the fields is told also where the name is wrong.
        request.must_be_named(&object).map_err(|error| error.warned(warnings.clone()))?;
        Ok(Changed { object, empties, warnings, applied: false })
    }

    /// Server-side apply: creates the object, or lays the configuration over it.
    async fn apply(&self, request: &Request<'_>, config: Input) -> Result<Answer, ApiError> {
        let (config, warnings) = request.check_config(config)?;
        if !config["metadata"]["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
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
            let (mut object, empties) = request.apply_over(&Value::Null, &config)?;
            request.settle_namespace(&mut object)?;
            let mut warnings = warnings?;
            request.must_be_named(&object)?;
            let made = Changed { object, empties, warnings: Vec::new(), applied: true };
            let (answer, more) = self.create_checked(request, made).await?;
            warnings.extend(more);
            return Ok(Answer { code: 201, warnings, ..answer });
        }
        self.change(request, |old| {
            let (mut object, empties) = request.apply_over(old, &config)?;
            request.settle_namespace(&mut object)?;
            let warnings = warnings.clone()?;
            request.must_be_named(&object)?;
            Ok(Changed { object, empties, warnings, applied: true })
        })
        .await
    }
}
