//! `EgressSelectorConfiguration` of `apiserver.k8s.io`: through which proxies the API server reaches what (KEP-1281).

use crate::Target;
use crate::way::{Proxy, Way};
use http::Uri;
use ironclad_api::field::aggregate;
use ironclad_api::{ErrorList, FieldError, Path};
use rustls_pki_types::ServerName;
use serde::Deserialize;
use serde_json::json;
use std::path::Path as File;
use std::sync::Arc;

/// The ways to each of the networks that a configuration tells apart.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// To webhooks and servers that an URL names.
    pub control_plane: Way,
    /// To etcd.
    pub etcd: Way,
    /// To nodes, pods and Services.
    pub cluster: Way,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    egress_selections: Vec<Selection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    #[serde(default)]
    name: String,
    #[serde(default)]
    connection: Connection,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Connection {
    proxy_protocol: String,
    transport: Option<Transport>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Transport {
    tcp: Option<Tcp>,
    uds: Option<Uds>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Tcp {
    url: String,
    tls_config: Option<Tls>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Uds {
    uds_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Tls {
    ca_bundle: String,
    client_key: String,
    client_cert: String,
    tls_server_name: String,
}

const NAMES: [&str; 3] = ["cluster", "controlplane", "etcd"];
const VERSIONS: [&str; 2] = ["apiserver.k8s.io/v1beta1", "apiserver.k8s.io/v1alpha1"];

impl Egress {
    /// From a file.
    pub fn read(path: &File) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            format!(
                "failed to read egress selector config: unable to read egress selector configuration from {:?} [{e}]",
                path.display().to_string()
            )
        })?;
        let failed = |why: String| format!("failed to read egress selector config: {why}");
        let read: Configuration = ironclad_api::yaml::read(&text).map_err(failed)?;
        if !VERSIONS.contains(&&*read.api_version) || read.kind != "EgressSelectorConfiguration" {
            let (kind, version) = (&read.kind, &read.api_version);
            return Err(failed(format!("no kind {kind:?} is registered for version {version:?}")));
        }
        let errors = check(&read.egress_selections);
        if !errors.is_empty() {
            return Err(format!("failed to validate egress selector configuration: {}", aggregate(&errors)));
        }
        let mut all = Self::default();
        for selection in &read.egress_selections {
            let name = selection.name.to_lowercase();
            let way = way(&selection.connection).map_err(|why| {
                format!("failed to setup egress selector: failed to create dialer for egressSelection {name:?}: {why}")
            })?;
            match name.as_str() {
                "cluster" => all.cluster = way,
                "etcd" => all.etcd = way,
                _ => all.control_plane = way,
            }
        }
        Ok(all)
    }
}

/// What is wrong with a configuration.
fn check(selections: &[Selection]) -> ErrorList {
    let at = Path::new("service").child("connection");
    let mut errors = ErrorList::new();
    for Selection { connection, .. } in selections {
        let transport = connection.transport.as_ref();
        match connection.proxy_protocol.as_str() {
            "Direct" if transport.is_some() => {
                let why = "config must be absent for direct connect";
                errors.push(FieldError::invalid_str(&at.child("transport"), "direct", why));
            }
            "Direct" => {}
            protocol @ ("HTTPConnect" | "GRPC") => match transport {
                None => {
                    let why = format!("transport must be set for {protocol}");
                    errors.push(FieldError::required(&at.child("transport"), why));
                }
                Some(transport) if protocol == "GRPC" => check_grpc(transport, &at, &mut errors),
                Some(transport) => check_http(transport, &at, &mut errors),
            },
            other => {
                let known = ["Direct", "HTTPConnect", "GRPC"];
                errors.push(FieldError::not_supported(&at.child("protocol"), &json!(other).into(), &known));
            }
        }
    }
    let mut seen: Vec<String> = Vec::new();
    for (index, selection) in selections.iter().enumerate() {
        let name = selection.name.to_lowercase();
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&at.index(index), &json!(name).into()));
            continue;
        }
        if !NAMES.contains(&&*name) {
            errors.push(FieldError::not_supported(&at, &json!(name).into(), &NAMES));
        }
        seen.push(name);
    }
    errors
}

fn check_grpc(transport: &Transport, at: &Path, errors: &mut ErrorList) {
    match &transport.uds {
        Some(uds) => check_uds(uds, at, errors),
        None => errors.push(FieldError::required(&at.child("uds"), "UDS must be set with GRPC")),
    }
}

fn check_uds(uds: &Uds, at: &Path, errors: &mut ErrorList) {
    if uds.uds_name.is_empty() {
        errors.push(FieldError::invalid_str(&at.child("udsName"), "nil", "must be present for UDS connections"));
    }
}

fn check_http(transport: &Transport, at: &Path, errors: &mut ErrorList) {
    match (&transport.tcp, &transport.uds) {
        (Some(tcp), Some(_)) => {
            // As it is shown in Go.
            let tls = tcp.tls_config.as_ref().map_or("null".to_owned(), |tls| {
                let Tls { ca_bundle, client_key, client_cert, tls_server_name } = tls;
                json!({"CABundle": ca_bundle, "ClientKey": client_key, "ClientCert": client_cert, "TLSServerName": tls_server_name}).to_string()
            });
            let shown = format!("{{\"URL\":{},\"TLSConfig\":{tls}}}", json!(tcp.url));
            errors.push(FieldError::invalid_shown(&at.child("tcp"), shown, "TCP and UDS cannot both be set"));
        }
        (None, None) => errors.push(FieldError::required(&at.child("tcp"), "One of TCP or UDS must be set")),
        (Some(tcp), None) => check_tcp(tcp, at, errors),
        (None, Some(uds)) => check_uds(uds, at, errors),
    }
}

fn check_tcp(tcp: &Tcp, at: &Path, errors: &mut ErrorList) {
    let tls = at.child("tlsConfig");
    if tcp.url.starts_with("http://") {
        if tcp.tls_config.is_some() {
            errors.push(FieldError::invalid_str(&tls, "nil", "config must not be present when using HTTP"));
        }
        return;
    }
    if !tcp.url.starts_with("https://") {
        let why = "supported connection protocols are http:// and https://";
        errors.push(FieldError::invalid_str(&at.child("url"), &tcp.url, why));
        return;
    }
    let Some(config) = &tcp.tls_config else {
        errors.push(FieldError::required(&tls, "TLSConfig must be present when using HTTPS"));
        return;
    };
    let missing = |file: &str| !File::new(file).exists();
    if !config.ca_bundle.is_empty() && missing(&config.ca_bundle) {
        let why = "TLS config ca bundle does not exist";
        errors.push(FieldError::invalid_str(&tls.child("caBundle"), &config.ca_bundle, why));
    }
    let needed = [
        ("clientCert", &config.client_cert, "Using TLS requires clientCert", "TLS client cert does not exist"),
        ("clientKey", &config.client_key, "Using TLS requires requires clientKey", "TLS client key does not exist"),
    ];
    for (field, file, absent, lost) in needed {
        if file.is_empty() {
            errors.push(FieldError::invalid_str(&tls.child(field), "nil", absent));
        } else if missing(file) {
            errors.push(FieldError::invalid_str(&tls.child(field), file, lost));
        }
    }
}

/// The way that a connection describes, which was checked.
fn way(connection: &Connection) -> Result<Way, String> {
    let Some(transport) = &connection.transport else { return Ok(Way::default()) };
    if let Some(uds) = &transport.uds {
        let path = uds.uds_name.clone().into();
        return Ok(if connection.proxy_protocol == "GRPC" { Proxy::Grpc(path) } else { Proxy::Unix(path) }.into());
    }
    let Some(tcp) = &transport.tcp else { return Ok(Way::default()) };
    let invalid = |why: &dyn std::fmt::Display| format!("invalid proxy server url {:?}: {why}", tcp.url);
    let url: Uri = tcp.url.parse().map_err(|e| invalid(&e))?;
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().ok_or_else(|| invalid(&"missing port in address"))?;
    let tls = match &tcp.tls_config {
        None => None,
        Some(tls) => {
            let file = |path: &str| std::fs::read(path).map_err(|e| format!("failed to read {path}, got {e}"));
            let authorities = if tls.ca_bundle.is_empty() { Vec::new() } else { file(&tls.ca_bundle)? };
            let identity = Some((file(&tls.client_cert)?, file(&tls.client_key)?));
            let target = Target { authorities, identity, ..Target::default() };
            let name = if tls.tls_server_name.is_empty() { host.clone() } else { tls.tls_server_name.clone() };
            let name = ServerName::try_from(name).map_err(|e| invalid(&e))?;
            Some((Arc::new(target.tls().map_err(|e| e.to_string())?), name))
        }
    };
    Ok(Proxy::Tcp { host, port, tls }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(selections: &str) -> Result<Egress, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("egress");
        let head = "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n";
        std::fs::write(&file, format!("{head}{selections}\n")).unwrap();
        Egress::read(&file)
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_the_words_of_stock() {
        let table = [
            (
                "- {name: cluster, connection: {proxyProtocol: Foo}}",
                r#"service.connection.protocol: Unsupported value: "Foo": supported values: "Direct", "HTTPConnect", "GRPC""#,
            ),
            (
                "- {name: cluster, connection: {proxyProtocol: HTTPConnect}}",
                "service.connection.transport: Required value: transport must be set for HTTPConnect",
            ),
            (
                "- {name: cluster, connection: {proxyProtocol: GRPC, transport: {tcp: {url: http://a:1}}}}",
                "service.connection.uds: Required value: UDS must be set with GRPC",
            ),
            (
                "- {name: cluster, connection: {proxyProtocol: Direct, transport: {}}}",
                r#"service.connection.transport: Invalid value: "direct": config must be absent for direct connect"#,
            ),
            (
                "- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {tcp: {url: ftp://a}}}}",
                r#"service.connection.url: Invalid value: "ftp://a": supported connection protocols are http:// and https://"#,
            ),
            (
                "- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {tcp: {url: https://a}}}}",
                "service.connection.tlsConfig: Required value: TLSConfig must be present when using HTTPS",
            ),
            (
                "- {name: other, connection: {proxyProtocol: Direct}}",
                r#"service.connection: Unsupported value: "other": supported values: "cluster", "controlplane", "etcd""#,
            ),
            (
                "- {name: etcd, connection: {proxyProtocol: Direct}}\n- {name: ETCD, connection: {proxyProtocol: Direct}}",
                r#"service.connection[1]: Duplicate value: "etcd""#,
            ),
        ];
        for (selections, why) in table {
            let error = read(selections).err().unwrap_or_default();
            assert_eq!(error, format!("failed to validate egress selector configuration: {why}"), "{selections}");
        }
        assert!(read("- {name: cluster, other: 1}").is_err());
    }

    #[test]
    fn each_network_has_its_way() {
        let all = read("- {name: Cluster, connection: {proxyProtocol: GRPC, transport: {uds: {udsName: /run/x}}}}\n- {name: etcd, connection: {proxyProtocol: Direct}}").unwrap();
        assert!(!all.cluster.is_direct() && all.etcd.is_direct() && all.control_plane.is_direct());
    }
}
