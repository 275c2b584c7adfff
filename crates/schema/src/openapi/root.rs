//! The doors above all groups: what there is, and the release.

use super::Form;
use super::operations::{self, At};
use super::schemas::Schemas;
use super::word;
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value, json};

/// Places of documents that no group has.
pub(super) const PLACES: [&str; 5] = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The paths of a place; `None` where it is none.
pub(super) fn paths(schemas: &mut Schemas<'_>, place: &str) -> Option<Map> {
    let none = GroupVersionKind::new("", "", "");
    let at = |prefix: &str, tag: &str| At {
        path: String::new(),
        gvk: &none,
        kind: "",
        prefix: prefix.to_owned(),
        name: String::new(),
        tag: tag.to_owned(),
        custom: false,
        sub: "",
        answer: &none,
        list_kind: "",
        watched: false,
    };
    let (path, op) = match place {
        "api" => {
            let definition = format!("{META}.APIVersions");
            let what = "get available API versions";
            (
                "/api/".to_owned(),
                operations::document(schemas, &at("Core", "core"), "getAPIVersions", what, &definition),
            )
        }
        "apis" => {
            let definition = format!("{META}.APIGroupList");
            let what = "get available API versions";
            ("/apis/".to_owned(), operations::document(schemas, &at("", "apis"), "getAPIVersions", what, &definition))
        }
        "version" => {
            let definition = "io.k8s.apimachinery.pkg.version.Info";
            let what = "get the version information for this server";
            let op = operations::document(schemas, &at("Code", "version"), "getVersion", what, definition);
            ("/version/".to_owned(), op)
        }
        ".well-known/openid-configuration" => {
            let what = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'";
            let op = text(schemas.form, "WellKnown", "getServiceAccountIssuerOpenIDConfiguration", what);
            ("/.well-known/openid-configuration/".to_owned(), op)
        }
        "openid/v1/jwks" => {
            let what = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)";
            ("/openid/v1/jwks/".to_owned(), text(schemas.form, "openid", "getServiceAccountIssuerOpenIDKeyset", what))
        }
        _ => {
            let group = place.strip_prefix("apis/").filter(|g| !g.contains('/'))?;
            let name = group.strip_suffix(".k8s.io").unwrap_or(group);
            let definition = format!("{META}.APIGroup");
            let at = at(&word(name, true), &word(name, false));
            let op = operations::document(schemas, &at, "getAPIGroup", "get information of a group", &definition);
            (format!("/{place}/"), op)
        }
    };
    let mut op = op;
    if let Some(map) = op.as_object_mut() {
        map.remove("parameters");
    }
    Some(Map::from_iter([(path, json!({"get": op}))]))
}

fn text(form: Form, tag: &str, id: &str, what: &str) -> Value {
    let types = if tag == "openid" { ["application/jwk-set+json"] } else { ["application/json"] };
    let schema = json!({"type": "string"});
    let ok = match form {
        Form::V2 => json!({"description": "OK", "schema": schema}),
        Form::V3 => json!({"description": "OK", "content": {types[0]: {"schema": schema}}}),
    };
    let responses = json!({"200": ok, "401": {"description": "Unauthorized"}});
    let mut op = json!({"operationId": id, "tags": [tag], "description": what, "responses": responses});
    if form == Form::V2 {
        op["produces"] = json!(types);
        op["schemes"] = json!(["https"]);
    }
    op
}
