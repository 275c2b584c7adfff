//! The Pod Security Standards: each check looks at a pod's metadata and spec and says what it forbids.

use ironclad_api::object;
use ironclad_json::Value;
use std::collections::BTreeSet;

/// What a check found: the headline and, in brackets, the detail.
pub(super) type Finding = (String, String);

/// Capabilities that a container may add under `baseline`.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Kernel parameters that a pod may set, with the version that first let it.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
    "image",
];

const SELINUX: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn containers_named(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names.iter().copied()))
}

/// The pod itself and its containers, where they are wrong.
fn wrongdoers(pod: bool, containers: &[&str]) -> Vec<String> {
    let pod = pod.then(|| "pod".to_owned());
    let containers = (!containers.is_empty()).then(|| containers_named(containers));
    pod.into_iter().chain(containers).collect()
}

/// Every container, init and ephemeral ones first as stock visits them.
fn containers(spec: &Value) -> Vec<&Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|g| spec[g].as_array().into_iter().flatten())
        .collect()
}

fn where_(spec: &Value, bad: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(spec).into_iter().filter(|c| bad(c)).map(|c| object::text(c, &["name"])).collect()
}

fn windows(spec: &Value) -> bool {
    spec["os"]["name"] == "windows"
}

/// Whether a pod's users are none of the node's.
fn own_users(spec: &Value) -> bool {
    spec["hostUsers"] == false
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What `baseline` forbids in a minor version of Kubernetes.
pub(super) fn baseline(metadata: &Value, spec: &Value, minor: u32) -> Vec<Finding> {
    let since = |version: u32, check: fn(&Value) -> Option<Finding>| (minor >= version).then(|| check(spec)).flatten();
    let all = [
        apparmor(metadata, spec),
        added_capabilities(spec),
        host_namespaces(spec),
        host_path(spec),
        host_ports(spec),
        since(34, probe_hosts),
        privileged(spec),
        if minor >= 35 && own_users(spec) { None } else { proc_mount(spec) },
        since(19, seccomp_baseline),
        selinux(spec, minor),
        sysctls(spec, minor),
        host_process(spec),
    ];
    all.into_iter().flatten().collect()
}

/// What `restricted` forbids besides.
pub(super) fn restricted(spec: &Value, minor: u32) -> Vec<Finding> {
    let since = |version: u32, check: fn(&Value) -> Option<Finding>| (minor >= version).then(|| check(spec)).flatten();
    // What Windows does not have cannot be asked for, since versions know the system of a pod.
    let linux = |version: u32, check: fn(&Value) -> Option<Finding>| {
        if windows(spec) && minor >= 25 { None } else { since(version, check) }
    };
    let relaxed = minor >= 35 && own_users(spec);
    let all = [
        linux(8, privilege_escalation),
        linux(22, dropped_capabilities),
        since(35, proc_mount),
        volume_types(spec),
        if relaxed { None } else { run_as_non_root(spec) },
        if relaxed { None } else { since(23, run_as_root) },
        linux(19, seccomp_restricted),
    ];
    all.into_iter().flatten().collect()
}

/// Hosts that probes and hooks of a container reach for.
fn reached(container: &Value) -> Vec<&str> {
    let handlers = [
        &container["livenessProbe"],
        &container["readinessProbe"],
        &container["startupProbe"],
        &container["lifecycle"]["postStart"],
        &container["lifecycle"]["preStop"],
    ];
    let mut out = Vec::new();
    for handler in handlers {
        out.extend(
            ["httpGet", "tcpSocket"].map(|f| object::text(handler, &[f, "host"])).into_iter().filter(|h| !h.is_empty()),
        );
    }
    out
}

fn probe_hosts(spec: &Value) -> Option<Finding> {
    let names: BTreeSet<&str> = where_(spec, |c| !reached(c).is_empty()).into_iter().collect();
    let hosts: BTreeSet<&str> = containers(spec).into_iter().flat_map(reached).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let uses = plural(names.len(), "uses", "use");
    let what = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    (!names.is_empty()).then(|| {
        let detail = format!("{} {uses} {what} {}", containers_named(&names), quoted(hosts.iter().copied()));
        ("probe or lifecycle host".to_owned(), detail)
    })
}

fn found(names: &[&str], title: &str, must: &str) -> Option<Finding> {
    (!names.is_empty()).then(|| (title.to_owned(), format!("{} must {must}", containers_named(names))))
}

fn host_namespaces(spec: &Value) -> Option<Finding> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|f| spec[*f] == true)
        .map(|f| format!("{f}=true"))
        .collect();
    (!set.is_empty()).then(|| ("host namespaces".to_owned(), set.join(", ")))
}

fn privileged(spec: &Value) -> Option<Finding> {
    let names = where_(spec, |c| c["securityContext"]["privileged"] == true);
    found(&names, "privileged", "not set securityContext.privileged=true")
}

fn added_capabilities(spec: &Value) -> Option<Finding> {
    let bad = |c: &Value| -> Vec<String> {
        let added = texts(&c["securityContext"]["capabilities"]["add"]);
        added.into_iter().filter(|a| !CAPABILITIES.contains(a)).map(str::to_owned).collect()
    };
    let names = where_(spec, |c| !bad(c).is_empty());
    let which: BTreeSet<String> = containers(spec).into_iter().flat_map(bad).collect();
    let must = format!("not include {} in securityContext.capabilities.add", quoted(which.iter().map(String::as_str)));
    found(&names, "non-default capabilities", &must)
}

fn host_path(spec: &Value) -> Option<Finding> {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> = volumes.filter(|v| !v["hostPath"].is_null()).map(|v| object::text(v, &["name"])).collect();
    let what = plural(names.len(), "volume", "volumes");
    (!names.is_empty()).then(|| ("hostPath volumes".to_owned(), format!("{what} {}", quoted(names))))
}

fn host_ports(spec: &Value) -> Option<Finding> {
    let ports = |c: &Value| -> Vec<i64> {
        let all = c["ports"].as_array().into_iter().flatten();
        all.filter_map(|p| p["hostPort"].as_i64()).filter(|p| *p != 0).collect()
    };
    let names = where_(spec, |c| !ports(c).is_empty());
    let used: BTreeSet<i64> = containers(spec).into_iter().flat_map(ports).collect();
    let list: Vec<String> = used.iter().map(ToString::to_string).collect();
    let uses = plural(names.len(), "uses", "use");
    let what = plural(list.len(), "hostPort", "hostPorts");
    (!names.is_empty())
        .then(|| ("hostPort".to_owned(), format!("{} {uses} {what} {}", containers_named(&names), list.join(", "))))
}

fn proc_mount(spec: &Value) -> Option<Finding> {
    let mount = |c: &Value| object::text(c, &["securityContext", "procMount"]).to_owned();
    let names = where_(spec, |c| !["", "Default"].contains(&mount(c).as_str()));
    let used: BTreeSet<String> =
        containers(spec).into_iter().map(mount).filter(|m| m != "Default" && !m.is_empty()).collect();
    found(
        &names,
        "procMount",
        &format!("not set securityContext.procMount to {}", quoted(used.iter().map(String::as_str))),
    )
}

fn seccomp(value: &Value) -> &str {
    object::text(value, &["securityContext", "seccompProfile", "type"])
}

fn seccomp_baseline(spec: &Value) -> Option<Finding> {
    let names = where_(spec, |c| seccomp(c) == "Unconfined");
    let who = wrongdoers(seccomp(spec) == "Unconfined", &names);
    (!who.is_empty()).then(|| {
        let who = who.join(" and ");
        (
            "seccompProfile".to_owned(),
            format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\""),
        )
    })
}

fn apparmor(metadata: &Value, spec: &Value) -> Option<Finding> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let good = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let notes = metadata["annotations"].as_object().into_iter().flatten();
    let annotations: BTreeSet<String> = notes
        .filter(|(k, v)| k.starts_with(PREFIX) && !good(v.as_str().unwrap_or_default()))
        .map(|(k, v)| format!("{k}={:?}", v.as_str().unwrap_or_default()))
        .collect();
    let of = |v: &Value| object::text(v, &["securityContext", "appArmorProfile", "type"]).to_owned();
    let wrong = |v: &Value| !matches!(of(v).as_str(), "" | "RuntimeDefault" | "Localhost");
    let names = where_(spec, wrong);
    let mut who = wrongdoers(wrong(spec), &names);
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    let all = [spec].into_iter().chain(containers(spec)).filter(|v| wrong(v));
    let mut bad: Vec<String> = all.map(of).collect::<BTreeSet<_>>().into_iter().collect();
    bad.extend(annotations);
    let title = plural(bad.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles").to_owned();
    let list = bad.iter().map(|b| format!("\"{b}\"")).collect::<Vec<_>>().join(", ");
    (!bad.is_empty()).then(|| (title, format!("{} must not set AppArmor profile type to {list}", who.join(" and "))))
}

fn selinux(spec: &Value, minor: u32) -> Option<Finding> {
    let types = if minor >= 31 { &SELINUX[..] } else { &SELINUX[..4] };
    let of = |v: &Value, f: &str| object::text(v, &["securityContext", "seLinuxOptions", f]).to_owned();
    let wrong =
        |v: &Value| !types.contains(&of(v, "type").as_str()) || !of(v, "user").is_empty() || !of(v, "role").is_empty();
    let names = where_(spec, wrong);
    let who = wrongdoers(wrong(spec), &names);
    let all = || containers(spec).into_iter().chain([spec]);
    let used: BTreeSet<String> = all().map(|v| of(v, "type")).filter(|t| !types.contains(&t.as_str())).collect();
    let mut what = Vec::new();
    if !used.is_empty() {
        let names = quoted(used.iter().map(String::as_str));
        what.push(format!("{} {names}", plural(used.len(), "type", "types")));
    }
    for (field, why) in [("user", "user may not be set"), ("role", "role may not be set")] {
        if all().any(|v| !of(v, field).is_empty()) {
            what.push(why.to_owned());
        }
    }
    let said = || format!("{} set forbidden securityContext.seLinuxOptions: {}", who.join(" and "), what.join("; "));
    (!who.is_empty()).then(|| ("seLinuxOptions".to_owned(), said()))
}

fn sysctls(spec: &Value, minor: u32) -> Option<Finding> {
    let known = |name: &str| SYSCTLS.iter().any(|(n, since)| *n == name && minor >= *since);
    let set = spec["securityContext"]["sysctls"].as_array().into_iter().flatten();
    let names: Vec<&str> = set.map(|s| object::text(s, &["name"])).filter(|n| !known(n)).collect();
    (!names.is_empty()).then(|| ("forbidden sysctls".to_owned(), names.join(", ")))
}

fn host_process(spec: &Value) -> Option<Finding> {
    let set = |v: &Value| v["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let names = where_(spec, set);
    let who = wrongdoers(set(spec), &names);
    (!who.is_empty()).then(|| {
        (
            "hostProcess".to_owned(),
            format!("{} must not set securityContext.windowsOptions.hostProcess=true", who.join(" and ")),
        )
    })
}

fn privilege_escalation(spec: &Value) -> Option<Finding> {
    let names = where_(spec, |c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    found(&names, "allowPrivilegeEscalation != false", "set securityContext.allowPrivilegeEscalation=false")
}

fn dropped_capabilities(spec: &Value) -> Option<Finding> {
    let drops = |c: &Value| texts(&c["securityContext"]["capabilities"]["drop"]).contains(&"ALL");
    let adds = |c: &Value| -> Vec<String> {
        let added = texts(&c["securityContext"]["capabilities"]["add"]);
        added.into_iter().filter(|a| *a != "NET_BIND_SERVICE").map(str::to_owned).collect()
    };
    let (missing, adding) = (where_(spec, |c| !drops(c)), where_(spec, |c| !adds(c).is_empty()));
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers_named(&missing)));
    }
    if !adding.is_empty() {
        let which: BTreeSet<String> = containers(spec).into_iter().flat_map(adds).collect();
        let list = quoted(which.iter().map(String::as_str));
        parts
            .push(format!("{} must not include {list} in securityContext.capabilities.add", containers_named(&adding)));
    }
    (!parts.is_empty()).then(|| ("unrestricted capabilities".to_owned(), parts.join("; ")))
}

fn volume_types(spec: &Value) -> Option<Finding> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kind = volume.as_object().into_iter().flatten().find(|(k, v)| *k != "name" && !v.is_null());
        if let Some((kind, _)) = kind.filter(|(k, _)| !VOLUMES.contains(&k.as_str())) {
            names.push(object::text(volume, &["name"]));
            kinds.insert(kind.as_str());
        }
    }
    let (volume, uses) = (plural(names.len(), "volume", "volumes"), plural(names.len(), "uses", "use"));
    let what = plural(kinds.len(), "restricted volume type", "restricted volume types");
    (!names.is_empty()).then(|| {
        ("restricted volume types".to_owned(), format!("{volume} {} {uses} {what} {}", quoted(names), quoted(kinds)))
    })
}

fn run_as_non_root(spec: &Value) -> Option<Finding> {
    let own = |v: &Value| v["securityContext"]["runAsNonRoot"].as_bool();
    let said_no = where_(spec, |c| own(c) == Some(false));
    let mut who = Vec::new();
    if own(spec) == Some(false) {
        who.push("pod".to_owned());
    }
    if !said_no.is_empty() {
        who.push(containers_named(&said_no));
    }
    let title = "runAsNonRoot != true".to_owned();
    if !who.is_empty() {
        return Some((title, format!("{} must not set securityContext.runAsNonRoot=false", who.join(" and "))));
    }
    let silent = where_(spec, |c| own(c).is_none());
    (own(spec).is_none() && !silent.is_empty())
        .then(|| (title, format!("pod or {} must set securityContext.runAsNonRoot=true", containers_named(&silent))))
}

fn run_as_root(spec: &Value) -> Option<Finding> {
    let root = |v: &Value| v["securityContext"]["runAsUser"] == 0;
    let mut who = Vec::new();
    if root(spec) {
        who.push("pod".to_owned());
    }
    let names = where_(spec, root);
    if !names.is_empty() {
        who.push(containers_named(&names));
    }
    (!who.is_empty()).then(|| ("runAsUser=0".to_owned(), format!("{} must not set runAsUser=0", who.join(" and "))))
}

fn seccomp_restricted(spec: &Value) -> Option<Finding> {
    let good = |t: &str| t == "RuntimeDefault" || t == "Localhost";
    let silent = where_(spec, |c| seccomp(c).is_empty());
    (!good(seccomp(spec)) && !silent.is_empty()).then(|| {
        let who = containers_named(&silent);
        (
            "seccompProfile".to_owned(),
            format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""),
        )
    })
}
