//! Credentials for an image's registry from the pod's pull secrets.

use crate::objects::Entry;
use base64::Engine;
use ironclad_cri::AuthConfig;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// A credential with the Secret that it is from.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) auth: AuthConfig,
    pub(crate) origin: Origin,
    /// Tells equal credentials of different Secrets.
    pub(crate) hash: String,
}

/// A Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What fits the image among the pull secrets of a pod, the most particular entry first.
pub(crate) async fn credentials(
    names: &[String],
    secrets: &HashMap<String, Arc<Entry<Secret>>>,
    image: &str,
) -> Vec<Credential> {
    let mut found: Vec<(usize, Credential)> = Vec::new();
    for (name, entry) in names.iter().filter_map(|name| secrets.get_key_value(name)) {
        // Without an answer, and without the Secret, the image may still be public.
        let Ok(Some(secret)) = entry.get().await else { continue };
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &secret.metadata;
        let origin = Origin { namespace: of(&meta.namespace), name: of(&meta.name), uid: of(&meta.uid) };
        match entries(&secret) {
            Ok(entries) => {
                let fitting = entries.into_iter().filter(|(place, _)| fits(place, image));
                found.extend(fitting.map(|(place, auth)| {
                    let hash = hash(&auth);
                    (place.len(), Credential { auth, origin: origin.clone(), hash })
                }));
            }
            Err(why) => tracing::warn!(secret = name, why, "a pull secret cannot be read"),
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn hash(auth: &AuthConfig) -> String {
    let parts = [&auth.username, &auth.password, &auth.identity_token, &auth.registry_token];
    hex::encode(Sha256::digest(serde_json::json!(parts).to_string()))
}

/// An image's name without tag and digest.
pub(crate) fn repository(image: &str) -> Option<String> {
    let (host, path) = whole(image);
    let host = if host == "index.docker.io" { "docker.io" } else { &host };
    (!path.is_empty()).then(|| format!("{host}/{path}"))
}

fn entries(secret: &Secret) -> Result<Vec<(String, AuthConfig)>, String> {
    let data = |key: &str| secret.data.as_ref().and_then(|d| d.get(key));
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).map_err(|e| e.to_string());
    let auths = match (data(".dockerconfigjson"), data(".dockercfg")) {
        (Some(text), _) => parse(&text.0)?["auths"].take(),
        (None, Some(text)) => parse(&text.0)?,
        (None, None) => return Ok(Vec::new()),
    };
    let one = |(place, entry): (&String, &Value)| Some((place.clone(), auth(entry)?));
    Ok(auths.as_object().into_iter().flatten().filter_map(one).collect())
}

fn auth(entry: &Value) -> Option<AuthConfig> {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if let Some(encoded) = entry["auth"].as_str().filter(|e| !e.is_empty()) {
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let pair = String::from_utf8(decoded).ok()?;
        (username, password) = pair.split_once(':').map(|(u, p)| (u.to_owned(), p.to_owned()))?;
    }
    Some(AuthConfig {
        username,
        password,
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
    })
}

/// The registry and path of an image, with what a short name leaves out.
fn whole(image: &str) -> (String, String) {
    let name = image.split('@').next().unwrap_or_default();
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let rest_of = |r: &str| r.rsplit_once(':').filter(|(_, t)| !t.contains('/')).map_or(r, |(n, _)| n).to_owned();
    if first.contains('.') || first.contains(':') || first == "localhost" {
        return (first.to_owned(), rest_of(rest));
    }
    let path = if name.contains('/') { rest_of(name) } else { format!("library/{}", rest_of(name)) };
    ("index.docker.io".to_owned(), path)
}

/// Whether an entry's place is for an image: host with `*` for one label, an optional port, the beginning of a path.
fn fits(place: &str, image: &str) -> bool {
    let place = place.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let place = place.strip_suffix("/v1").or_else(|| place.strip_suffix("/v2")).unwrap_or(place);
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let host = if host == "docker.io" { "index.docker.io" } else { host };
    let (registry, name) = whole(image);
    let split = |text: &str| {
        let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
        (name.split('.').map(str::to_owned).collect::<Vec<_>>(), port.to_owned())
    };
    let ((want, port), (have, other)) = (split(host), split(&registry));
    let same = |(w, h): (&String, &String)| match w.split_once('*') {
        Some((head, tail)) => h.len() >= head.len() + tail.len() && h.starts_with(head) && h.ends_with(tail),
        None => w == h,
    };
    port == other
        && want.len() == have.len()
        && want.iter().zip(&have).all(same)
        && (path.is_empty() || name == path || name.starts_with(&format!("{path}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_neither_tag_nor_digest() {
        for (image, want) in [
            ("nginx", "docker.io/library/nginx"),
            ("docker.io/library/nginx:1", "docker.io/library/nginx"),
            ("127.0.0.1:5000/a/b:1@sha256:0", "127.0.0.1:5000/a/b"),
        ] {
            assert_eq!(repository(image).as_deref(), Some(want), "{image}");
        }
    }

    #[test]
    fn entries_fit_by_host_port_and_path() {
        for (place, image, want) in [
            ("https://index.docker.io/v1/", "nginx", true),
            ("docker.io", "nginx:1", true),
            ("127.0.0.1:5000", "127.0.0.1:5000/a/b:1", true),
            ("127.0.0.1:5001", "127.0.0.1:5000/a", false),
            ("*.example.com", "eu.example.com/a", true),
            ("*.example.com", "a.eu.example.com/a", false),
            ("r.test/team", "r.test/team/app@sha256:0", true),
            ("r.test/team", "r.test/teams/app", false),
        ] {
            assert_eq!(fits(place, image), want, "{place} {image}");
        }
    }
}
