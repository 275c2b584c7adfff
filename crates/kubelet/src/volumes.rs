//! Volumes: what a pod's containers see besides their images.

use crate::Config;
use crate::env::{Sources, field, resource};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount, Volume};
use kube::api::{Api, PostParams};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Files of a volume: path below it, contents, mode.
type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// Prepares every volume of a pod; returns where each lies. The error says which cannot be mounted and why.
pub(crate) async fn prepare(config: &Config, pod: &Pod, pod_ip: &str) -> Result<HashMap<String, PathBuf>, String> {
    let mut out = HashMap::new();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    for volume in spec.volumes.iter().flatten() {
        let path = one(config, pod, volume, &config.pod_dir(&uid).join("volumes"), pod_ip)
            .await
            .map_err(|why| format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name))?;
        out.insert(volume.name.clone(), path);
    }
    Ok(out)
}

async fn one(config: &Config, pod: &Pod, volume: &Volume, dir: &Path, pod_ip: &str) -> Result<PathBuf, String> {
    let fail = |e: std::io::Error| e.to_string();
    if let Some(host) = &volume.host_path {
        return host_path(&host.path, host.type_.as_deref().unwrap_or_default());
    }
    let group = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()?.fs_group);
    let path = dir.join(&volume.name);
    if let Some(empty) = &volume.empty_dir {
        let fresh = !path.exists();
        std::fs::create_dir_all(&path).map_err(fail)?;
        if fresh {
            if empty.medium.as_deref() == Some("Memory") {
                memory(&path, empty.size_limit.as_ref().map(|q| q.0.as_str()))?;
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).map_err(fail)?;
            if let Some(group) = group {
                std::os::unix::fs::chown(&path, None, Some(group as u32)).map_err(fail)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o2777)).map_err(fail)?;
            }
        }
        return Ok(path);
    }
    let files = files(config, pod, volume, pod_ip).await?;
    write(&path, &files, group).map_err(fail)?;
    Ok(path)
}

fn host_path(path: &str, kind: &str) -> Result<PathBuf, String> {
    let target = PathBuf::from(path);
    let found = std::fs::metadata(&target);
    let is =
        |good: bool| if good { Ok(()) } else { Err(format!("hostPath type check failed: {path} is not a {kind}")) };
    use std::os::unix::fs::FileTypeExt;
    match kind {
        "DirectoryOrCreate" if found.is_err() => std::fs::create_dir_all(&target).map_err(|e| e.to_string())?,
        "FileOrCreate" if found.is_err() => {
            std::fs::File::options().create(true).append(true).mode(0o644).open(&target).map_err(|e| e.to_string())?;
        }
        "Directory" | "DirectoryOrCreate" => is(found.is_ok_and(|m| m.is_dir()))?,
        "File" | "FileOrCreate" => is(found.is_ok_and(|m| m.is_file()))?,
        "Socket" => is(found.is_ok_and(|m| m.file_type().is_socket()))?,
        "CharDevice" => is(found.is_ok_and(|m| m.file_type().is_char_device()))?,
        "BlockDevice" => is(found.is_ok_and(|m| m.file_type().is_block_device()))?,
        _ => {}
    }
    Ok(target)
}

fn memory(path: &Path, limit: Option<&str>) -> Result<(), String> {
    let bytes = limit.and_then(|l| l.parse::<ironclad_api::quantity::Quantity>().ok()).map(|q| q.value());
    let data = bytes.map_or_else(|| "mode=0777".to_owned(), |b| format!("mode=0777,size={b}"));
    let data = std::ffi::CString::new(data).map_err(|e| e.to_string())?;
    rustix::mount::mount("tmpfs", path, "tmpfs", rustix::mount::MountFlags::empty(), data.as_c_str())
        .map_err(|e| e.to_string())
}

fn api_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

async fn config_map(config: &Config, namespace: &str, name: &str) -> Result<Option<ConfigMap>, String> {
    Api::<ConfigMap>::namespaced(config.client.clone(), namespace).get_opt(name).await.map_err(|e| api_error(&e))
}

async fn secret(config: &Config, namespace: &str, name: &str) -> Result<Option<Secret>, String> {
    Api::<Secret>::namespaced(config.client.clone(), namespace).get_opt(name).await.map_err(|e| api_error(&e))
}

async fn files(config: &Config, pod: &Pod, volume: &Volume, pod_ip: &str) -> Result<Files, String> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(0o644) as u32;
        let found = config_map(config, &namespace, &source.name).await?;
        from_config_map(found, &source.name, source.items.as_deref(), source.optional, mode, &mut files)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let found = secret(config, &namespace, &name).await?;
        let mode = source.default_mode.unwrap_or(0o644) as u32;
        from_secret(found, &name, source.items.as_deref(), source.optional, mode, &mut files)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(0o644) as u32;
        downward(config, pod, source.items.as_deref(), mode, pod_ip, &mut files);
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(0o644) as u32;
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.config_map {
                let found = config_map(config, &namespace, &part.name).await?;
                from_config_map(found, &part.name, part.items.as_deref(), part.optional, mode, &mut files)?;
            }
            if let Some(part) = &part.secret {
                let found = secret(config, &namespace, &part.name).await?;
                from_secret(found, &part.name, part.items.as_deref(), part.optional, mode, &mut files)?;
            }
            if let Some(part) = &part.downward_api {
                downward(config, pod, part.items.as_deref(), mode, pod_ip, &mut files);
            }
            if let Some(part) = &part.service_account_token {
                let token = token(config, pod, part.audience.as_deref(), part.expiration_seconds).await?;
                files.insert(part.path.clone(), (token.into_bytes(), mode));
            }
        }
    } else {
        return Err("this sort of volume is not supported yet".to_owned());
    }
    Ok(files)
}

fn pick(
    data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: u32,
    what: &str,
    out: &mut Files,
) -> Result<(), String> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        out.extend(data.into_iter().map(|(k, v)| (k, (v, mode))));
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => drop(out.insert(item.path.clone(), (bytes.clone(), item.mode.map_or(mode, |m| m as u32)))),
            None if optional => {}
            None => return Err(format!("{what} references non-existent key: {}", item.key)),
        }
    }
    Ok(())
}

fn from_config_map(
    found: Option<ConfigMap>,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    out: &mut Files,
) -> Result<(), String> {
    let optional = optional.unwrap_or(false);
    let Some(map) = found else { return if optional { Ok(()) } else { Err(format!("configmap {name:?} not found")) } };
    let mut data: BTreeMap<String, Vec<u8>> =
        map.data.into_iter().flatten().map(|(k, v)| (k, v.into_bytes())).collect();
    data.extend(map.binary_data.into_iter().flatten().map(|(k, v)| (k, v.0)));
    pick(data, items, optional, mode, "configmap", out)
}

fn from_secret(
    found: Option<Secret>,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    out: &mut Files,
) -> Result<(), String> {
    let optional = optional.unwrap_or(false);
    let Some(secret) = found else { return if optional { Ok(()) } else { Err(format!("secret {name:?} not found")) } };
    let data = secret.data.into_iter().flatten().map(|(k, v)| (k, v.0)).collect();
    pick(data, items, optional, mode, "secret", out)
}

fn downward(
    config: &Config,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: u32,
    pod_ip: &str,
    out: &mut Files,
) {
    let host_ip = config.node_ip.to_string();
    let sources = Sources { config_maps: &|_| None, secrets: &|_| None, host_ip: &host_ip, pod_ip };
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let containers: Vec<_> = containers.collect();
    for item in items.unwrap_or_default() {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => field(pod, &reference.field_path, &sources),
            (None, Some(reference)) => {
                let named = containers.iter().find(|c| Some(&c.name) == reference.container_name.as_ref());
                let divisor = reference.divisor.as_ref().map(|d| d.0.clone()).unwrap_or_default();
                named.and_then(|c| resource(c, &reference.resource, &divisor))
            }
            (None, None) => None,
        };
        let mode = item.mode.map_or(mode, |m| m as u32);
        out.insert(item.path.clone(), (value.unwrap_or_default().into_bytes(), mode));
    }
}

async fn token(config: &Config, pod: &Pod, audience: Option<&str>, seconds: Option<i64>) -> Result<String, String> {
    let meta = &pod.metadata;
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_else(|| "default".into());
    let audiences: Vec<&str> = audience.into_iter().filter(|a| !a.is_empty()).collect();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": {
        "audiences": audiences, "expirationSeconds": seconds.unwrap_or(3600),
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": meta.name, "uid": meta.uid}}});
    let api: Api<ServiceAccount> =
        Api::namespaced(config.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let answer: TokenRequest =
        api.create_subresource("token", &account, &PostParams::default(), &request).await.map_err(|e| api_error(&e))?;
    Ok(answer.status.and_then(|s| s.token).unwrap_or_default())
}

/// Writes files so that readers see either all old or all new ones: into a new directory, to which `..data` then points.
fn write(path: &Path, files: &Files, group: Option<i64>) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    let name = format!("..{}", uuid::Uuid::new_v4().simple());
    let fresh = path.join(&name);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (file, (bytes, mode)) in files {
        // Paths were validated to stay inside.
        let target = fresh.join(file);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut out = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&target)?;
        out.write_all(bytes)?;
        let mode = if group.is_some() { mode | 0o040 } else { *mode };
        out.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&target, None, Some(group as u32))?;
        }
    }
    let (data, swap) = (path.join("..data"), path.join("..data_tmp"));
    let old = std::fs::read_link(&data).ok();
    symlink(&name, &swap)?;
    std::fs::rename(&swap, &data)?;
    for file in files.keys() {
        let first = file.split('/').next().unwrap_or(file);
        let link = path.join(first);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(first), link)?;
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(path.join(old))?;
    }
    Ok(())
}

/// Unmounts and removes everything of a pod.
pub(crate) fn remove(dir: &Path) -> std::io::Result<()> {
    let volumes = dir.join("volumes");
    for entry in std::fs::read_dir(&volumes).into_iter().flatten().flatten() {
        // Only memory volumes are mounts; unmounting another one says so and changes nothing.
        let _ = rustix::mount::unmount(entry.path(), rustix::mount::UnmountFlags::DETACH);
    }
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_swaps_all_files_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let files = |text: &str| {
            Files::from([("a".to_owned(), (text.as_bytes().to_vec(), 0o644)), ("d/b".to_owned(), (vec![1], 0o400))])
        };
        write(&path, &files("one"), None).unwrap();
        write(&path, &files("two"), None).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "two");
        assert_eq!(std::fs::metadata(path.join("d/b")).unwrap().permissions().mode() & 0o777, 0o400);
        let hidden = std::fs::read_dir(&path)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".."))
            .count();
        assert_eq!(hidden, 2, "the data and the link to it");
    }
}
