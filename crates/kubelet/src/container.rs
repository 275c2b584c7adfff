//! A pod's specification as the runtime's configuration.

mod dns;
mod hosts;
mod mounts;
pub(crate) mod resources;
mod sandbox;
mod security;
mod subpath;

use crate::Config;
use crate::env::expand;
use crate::pod::{Plan, Unit};
use ironclad_cri::{ContainerConfig, PidMode, StringMap};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(crate) use hosts::write as write_hosts;
pub(crate) use sandbox::{hostname, sandbox};
pub(crate) use security::confined;
pub(crate) use subpath::release as release_subpaths;

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER: &str = "io.kubernetes.container.name";

fn labels(plan: &Plan) -> StringMap {
    [(POD_NAME, &plan.name), (POD_NAMESPACE, &plan.namespace), (POD_UID, &plan.uid)]
        .map(|(k, v)| (k.to_owned(), v.clone()))
        .into()
}

/// A volume of a pod on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A directory or file.
    Path(PathBuf),
    /// The contents of an image, by its id.
    Image(String),
}

/// What a container is made from besides the pod's specification.
pub(crate) struct Given<'a> {
    /// The image's id.
    pub(crate) image: &'a str,
    /// The user that the image sets: number or name.
    pub(crate) image_user: (Option<i64>, &'a str),
    pub(crate) attempt: u32,
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) volumes: &'a HashMap<String, Volume>,
    /// The file that `/etc/hosts` is.
    pub(crate) hosts: &'a Path,
    /// Memory of the node, in bytes.
    pub(crate) memory: i64,
    /// What the node gives the container.
    pub(crate) resources: &'a k8s_openapi::api::core::v1::ResourceRequirements,
    /// What the node gives its pod as a whole, where the pod asks for that.
    pub(crate) whole: Option<&'a k8s_openapi::api::core::v1::ResourceRequirements>,
    /// The container whose processes an ephemeral one sees, by id.
    pub(crate) target: Option<String>,
}

/// The configuration of one container; the error is a `CreateContainerConfigError`.
pub(crate) fn configure(
    config: &Config,
    plan: &Plan,
    unit: &Unit,
    given: Given<'_>,
) -> Result<ContainerConfig, String> {
    let c = &unit.spec;
    let mut security = security::of(config, plan, unit, given.image_user)?;
    if let Some(target) = given.target.clone() {
        security.pid = PidMode::Target(target);
    }
    let expanded = |list: &Option<Vec<String>>| list.iter().flatten().map(|t| expand(t, &given.envs)).collect();
    let mut labels = labels(plan);
    labels.insert(CONTAINER.to_owned(), c.name.clone());
    Ok(ContainerConfig {
        name: c.name.clone(),
        attempt: given.attempt,
        image: given.image.to_owned(),
        user_specified_image: c.image.clone().unwrap_or_default(),
        command: expanded(&c.command),
        args: expanded(&c.args),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        mounts: mounts::of(config, plan, unit, &given)?,
        devices: Vec::new(),
        labels,
        annotations: StringMap::new(),
        log_path: format!("{}/{}.log", c.name, given.attempt),
        stdin: c.stdin == Some(true),
        stdin_once: c.stdin_once == Some(true),
        tty: c.tty == Some(true),
        resources: resources::container(plan, unit, given.resources, given.whole, given.memory),
        security,
        stop_signal: c.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()),
        envs: given.envs,
    })
}

/// The file that a container leaves its last words in.
pub(crate) fn termination_file(config: &Config, uid: &str, container: &str, attempt: u32) -> PathBuf {
    config.pod_dir(uid).join("containers").join(container).join(format!("termination-{attempt}"))
}
