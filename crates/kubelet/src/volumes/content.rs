//! What the files of configMap, secret, downwardAPI and projected volumes hold.

use super::files::{File, Files};
use super::{Around, Volumes, owner};
use crate::env::{field, resource};
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Secret, Volume, VolumeProjection};
use std::collections::BTreeMap;

const MODE: i32 = 0o644;

/// Why files cannot be had.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) text: String,
    /// The server cannot be asked; what is there already may stay.
    pub(super) away: bool,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, away: false }
    }
}

type Bytes = BTreeMap<String, Vec<u8>>;

fn data_of(map: &ConfigMap) -> Bytes {
    let plain = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    plain.chain(map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()))).collect()
}

fn secret_data(secret: &Secret) -> Bytes {
    secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

impl Volumes {
    async fn config_map(&self, name: &str) -> Result<Option<Bytes>, Failure> {
        let Some(entry) = self.used.config_maps.get(name) else { return Ok(None) };
        let found = entry.get().await.map_err(|text| Failure { text, away: true })?;
        Ok(found.map(|m| data_of(&m)))
    }

    async fn secret(&self, name: &str) -> Result<Option<Bytes>, Failure> {
        let Some(entry) = self.used.secrets.get(name) else { return Ok(None) };
        let found = entry.get().await.map_err(|text| Failure { text, away: true })?;
        Ok(found.map(|s| secret_data(&s)))
    }
}

pub(super) async fn files(volumes: &mut Volumes, around: &Around<'_>, volume: &Volume) -> Result<Files, Failure> {
    let mut out = Files::new();
    if let Some(source) = &volume.config_map {
        let pick = Pick::new("configmap", &source.name, source.items.as_deref(), source.optional, source.default_mode);
        pick.from(volumes.config_map(&source.name).await?, &mut out)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let pick = Pick::new("secret", &name, source.items.as_deref(), source.optional, source.default_mode);
        pick.from(volumes.secret(&name).await?, &mut out)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(MODE);
        downward(around, source.items.as_deref(), mode, &mut out);
    } else if let Some(source) = &volume.projected {
        for (at, part) in source.sources.iter().flatten().enumerate() {
            let place = (volume.name.as_str(), at);
            project(volumes, around, place, part, source.default_mode.unwrap_or(MODE), &mut out).await?;
        }
    }
    Ok(out)
}

async fn project(
    volumes: &mut Volumes,
    around: &Around<'_>,
    place: (&str, usize),
    part: &VolumeProjection,
    mode: i32,
    out: &mut Files,
) -> Result<(), Failure> {
    if let Some(part) = &part.config_map {
        let pick = Pick::new("configmap", &part.name, part.items.as_deref(), part.optional, Some(mode));
        pick.from(volumes.config_map(&part.name).await?, out)?;
    } else if let Some(part) = &part.secret {
        let pick = Pick::new("secret", &part.name, part.items.as_deref(), part.optional, Some(mode));
        pick.from(volumes.secret(&part.name).await?, out)?;
    } else if let Some(part) = &part.downward_api {
        downward(around, part.items.as_deref(), mode, out);
    } else if let Some(part) = &part.service_account_token {
        let ask = super::token::request(around, part);
        let text = volumes.tokens.get(place.0, &part.path, ask).await?;
        out.insert(part.path.clone(), private(around, text, mode, None));
    } else if let Some(part) = &part.cluster_trust_bundle {
        if let Some(bytes) = volumes.bundle(part).await? {
            let user = part.user.map(|u| u as u32);
            out.insert(part.path.clone(), File { bytes, mode: mode as u32, user });
        }
    } else if let Some(part) = &part.pod_certificate {
        let signers = volumes.signers.clone().ok_or_else(|| "nobody follows what signers say".to_owned())?;
        let pair = volumes.certificates.get(around, &signers, place, part).await?;
        let both = format!("{}{}", pair.key, pair.chain);
        let files = [
            (&part.credential_bundle_path, both),
            (&part.key_path, pair.key),
            (&part.certificate_chain_path, pair.chain),
        ];
        for (path, text) in files {
            if let Some(path) = path.as_ref().filter(|p| !p.is_empty()) {
                out.insert(path.clone(), private(around, text, mode, part.user));
            }
        }
    } else {
        return Err("this sort of projection is not supported on this node".to_owned().into());
    }
    Ok(())
}

/// A file that only who runs the containers may read.
fn private(around: &Around<'_>, text: String, mode: i32, user: Option<i64>) -> File {
    let user = user.map(|u| u as u32).or_else(|| owner::user(around.plan));
    let strict = user.is_some() || owner::group(around.plan).is_some();
    File { bytes: text.into_bytes(), mode: if strict { 0o600 } else { mode as u32 }, user }
}

/// Which keys become which files.
struct Pick<'a> {
    kind: &'static str,
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    optional: bool,
    mode: u32,
}

impl<'a> Pick<'a> {
    fn new(
        kind: &'static str,
        name: &'a str,
        items: Option<&'a [KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Self {
        let mode = mode.unwrap_or(MODE) as u32;
        Self { kind, name, items: items.filter(|i| !i.is_empty()), optional: optional == Some(true), mode }
    }

    fn from(&self, data: Option<Bytes>, out: &mut Files) -> Result<(), String> {
        let Some(data) = data else {
            return if self.optional { Ok(()) } else { Err(format!("{} {:?} not found", self.kind, self.name)) };
        };
        let file = |bytes: Vec<u8>, mode: u32| File { bytes, mode, user: None };
        let Some(items) = self.items else {
            out.extend(data.into_iter().map(|(k, v)| (k, file(v, self.mode))));
            return Ok(());
        };
        for item in items {
            let mode = item.mode.map_or(self.mode, |m| m as u32);
            match data.get(&item.key) {
                Some(bytes) => drop(out.insert(item.path.clone(), file(bytes.clone(), mode))),
                None if self.optional => {}
                None if self.kind == "secret" => {
                    return Err(format!("references non-existent secret key: {}", item.key));
                }
                None => return Err(format!("configmap references non-existent config key: {}", item.key)),
            }
        }
        Ok(())
    }
}

fn downward(around: &Around<'_>, items: Option<&[DownwardAPIVolumeFile]>, mode: i32, out: &mut Files) {
    let plan = around.plan;
    for item in items.unwrap_or_default() {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => field(&plan.pod, &reference.field_path, around.facts),
            (None, Some(reference)) => {
                let unit = reference.container_name.as_deref().and_then(|n| plan.unit(n));
                let divisor = reference.divisor.as_ref().map(|d| d.0.clone()).unwrap_or_default();
                unit.and_then(|u| resource(&u.spec, &reference.resource, &divisor, around.facts))
            }
            (None, None) => None,
        };
        let mode = item.mode.unwrap_or(mode) as u32;
        out.insert(item.path.clone(), File { bytes: value.unwrap_or_default().into_bytes(), mode, user: None });
    }
}
