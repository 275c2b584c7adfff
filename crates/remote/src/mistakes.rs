//! What is wrong with the cluster and the user of a kubeconfig, worded as stock's client words it.

use crate::kubeconfig::{Cluster, User};
use ironclad_api::{go_quote, url};
use std::path::Path;

/// Nothing that could be used.
pub(crate) const NOTHING: &str =
    "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable";

/// The current context does not exist.
pub(crate) fn no_context(name: &str) -> String {
    format!(
        "invalid configuration: [context was not found for specified context: {name}, cluster has no server defined]"
    )
}

fn set(field: &Option<String>) -> bool {
    field.as_ref().is_some_and(|text| !text.is_empty())
}

fn unreadable(file: &Option<String>, base: &Path) -> Option<String> {
    let path = base.join(file.as_ref().filter(|f| !f.is_empty())?);
    std::fs::File::open(&path).err().map(|why| crate::opened(&path, &why))
}

/// Every mistake of a cluster and a user, each with its name.
pub(crate) fn check(cluster: (&str, &Cluster), user: (&str, &User), base: &Path) -> Result<(), String> {
    let mut all = of_user(user.0, user.1, base);
    all.extend(of_cluster(cluster.0, cluster.1, base));
    match all.as_slice() {
        [] => {}
        [one] => return Err(format!("invalid configuration: {one}")),
        many => return Err(format!("invalid configuration: [{}]", many.join(", "))),
    }
    let (cluster, authorities) =
        (cluster.1, set(&cluster.1.certificate_authority_data) || set(&cluster.1.certificate_authority));
    if let Some(exec) = &user.1.exec
        && !exec.api_version.starts_with("client.authentication.k8s.io/")
    {
        return Err(format!("exec plugin: invalid apiVersion {}", go_quote(&exec.api_version)));
    }
    if cluster.insecure_skip_tls_verify && authorities {
        return Err("specifying a root certificates file with the insecure flag is not allowed".to_owned());
    }
    let server = &cluster.server;
    match url::parse(server) {
        Ok(found) if found.host.is_empty() && server.contains("://") => Err(bad_host(server)),
        Err(_) if server.contains("://") => Err(bad_host(server)),
        _ => Ok(()),
    }
}

fn bad_host(server: &str) -> String {
    format!("host must be a URL or a host:port pair: {}", go_quote(server))
}

fn of_cluster(name: &str, cluster: &Cluster, base: &Path) -> Vec<String> {
    let mut out = Vec::new();
    if cluster.server.is_empty() {
        out.push(format!("no server found for cluster {}", go_quote(name)));
    }
    if let Some(proxy) = cluster.proxy_url.as_ref().filter(|p| !p.is_empty()) {
        let told =
            |why: String| format!("invalid 'proxy-url' {} for cluster {}: {why}", go_quote(proxy), go_quote(name));
        match url::parse(proxy) {
            Err(why) => out.push(told(why)),
            Ok(url) if !matches!(url.scheme.as_str(), "http" | "https" | "socks5") => {
                out.push(told(format!("unsupported scheme {}, must be http, https, or socks5", go_quote(&url.scheme))))
            }
            Ok(_) => {}
        }
    }
    if set(&cluster.certificate_authority) && set(&cluster.certificate_authority_data) {
        out.push(format!("certificate-authority-data and certificate-authority are both specified for {name}. certificate-authority-data will override."));
    }
    if let Some(why) = unreadable(&cluster.certificate_authority, base) {
        let file = cluster.certificate_authority.as_deref().unwrap_or_default();
        out.push(format!("unable to read certificate-authority {file} for {name} due to {why}"));
    }
    out
}

fn of_user(name: &str, user: &User, base: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let methods = [("token", set(&user.token)), ("basicAuth", set(&user.username) || set(&user.password))];
    let methods: Vec<&str> = methods.iter().filter(|(_, used)| *used).map(|(name, _)| *name).collect();
    if set(&user.certificate) || set(&user.certificate_data) {
        if !set(&user.key) && !set(&user.key_data) {
            out.push(format!("client-key-data or client-key must be specified for {name} to use the clientCert authentication method."));
        }
        for (what, file) in [("client-cert", &user.certificate), ("client-key", &user.key)] {
            if let Some(why) = unreadable(file, base) {
                let file = file.as_deref().unwrap_or_default();
                out.push(format!("unable to read {what} {file} for {name} due to {why}"));
            }
        }
    }
    if let Some(exec) = &user.exec {
        if exec.command.is_empty() {
            out.push(format!("command must be specified for {name} to use exec authentication plugin"));
        }
        if exec.api_version.is_empty() {
            out.push(format!("apiVersion must be specified for {name} to use exec authentication plugin"));
        }
        if exec.interactive_mode.is_empty() && exec.api_version == "client.authentication.k8s.io/v1" {
            out.push(format!("interactiveMode must be specified for {name} to use exec authentication plugin"));
        }
    }
    if methods.len() > 1 {
        let methods = methods.join(" ");
        out.push(format!(
            "more than one authentication method found for {name}; found [{methods}], only one is allowed"
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::{Value, from_value, json};

    #[test]
    fn mistakes_are_told_as_by_stock() {
        let told = |cluster: Value, user: Value| {
            let (cluster, user): (Cluster, User) = (from_value(cluster).unwrap(), from_value(user).unwrap());
            check(("c", &cluster), ("u", &user), Path::new("/")).err().unwrap_or_default()
        };
        let server = || json!({"server": "https://a"});
        let table = [
            (server(), json!({"token": "a"}), ""),
            (json!({}), json!({}), "invalid configuration: no server found for cluster \"c\""),
            (json!({"server": "https://a b"}), json!({}), "host must be a URL or a host:port pair: \"https://a b\""),
            (
                server(),
                json!({"token": "a", "username": "b"}),
                "invalid configuration: more than one authentication method found for u; found [token basicAuth], only one is allowed",
            ),
            (
                server(),
                json!({"client-certificate-data": "YQ=="}),
                "invalid configuration: client-key-data or client-key must be specified for u to use the clientCert authentication method.",
            ),
            (
                json!({"server": "https://a", "insecure-skip-tls-verify": true, "certificate-authority-data": "YQ=="}),
                json!({}),
                "specifying a root certificates file with the insecure flag is not allowed",
            ),
            (
                json!({"server": "https://a", "proxy-url": "ftp://x"}),
                json!({}),
                "invalid configuration: invalid 'proxy-url' \"ftp://x\" for cluster \"c\": unsupported scheme \"ftp\", must be http, https, or socks5",
            ),
        ];
        for (cluster, user, want) in table {
            assert_eq!(told(cluster, user), want);
        }
    }
}
