//! How registries are reached: mirrors, plain HTTP, certificate authorities; and what their errors mean.

use ironclad_cri::{AuthConfig, Error};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a registry may send nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// For a registry's host the hosts to try before it, in order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts (with port) that are spoken to without TLS; loopback addresses always are.
    pub plain_http: Vec<String>,
    /// Files with certificate authorities to trust besides the usual ones, in PEM.
    pub ca_files: Vec<PathBuf>,
    /// How long a registry may send nothing in the midst of an answer; a minute if it is not given.
    pub patience: Option<Duration>,
}

impl RegistryConfig {
    /// Hosts to try for a registry, itself last.
    pub(crate) fn hosts(&self, registry: &str) -> Vec<String> {
        let mut hosts = self.mirrors.get(registry).cloned().unwrap_or_default();
        hosts.push(registry.to_owned());
        hosts
    }

    /// A client for one host.
    pub(crate) fn client(&self, host: &str) -> Result<oci_client::Client, Error> {
        let mut extra_root_certificates = Vec::new();
        for file in &self.ca_files {
            let data = std::fs::read(file).map_err(super::internal(format!("read {}", file.display())))?;
            extra_root_certificates.push(Certificate { encoding: CertificateEncoding::Pem, data });
        }
        let plain = is_loopback(host) || self.plain_http.iter().any(|h| h == host);
        let protocol = if plain { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            extra_root_certificates,
            connect_timeout: Some(Duration::from_secs(15)),
            read_timeout: Some(self.patience.unwrap_or(PATIENCE)),
            user_agent: concat!("ironclad/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let made = oci_client::Client::try_from(config);
        made.map_err(|e| Error::Internal(format!("set up the client of registry {host}: {e}")))
    }
}

fn is_loopback(host: &str) -> bool {
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|a| a.is_loopback())
}

/// Credentials to try in order; nobody's last.
pub(crate) fn credentials(auth: &[AuthConfig]) -> Vec<RegistryAuth> {
    let mut list: Vec<RegistryAuth> = auth
        .iter()
        .filter_map(|a| match (a.registry_token.as_str(), a.identity_token.as_str(), a.username.as_str()) {
            ("", "", "") => None,
            ("", "", user) => Some(RegistryAuth::Basic(user.to_owned(), a.password.clone())),
            ("", token, _) => Some(RegistryAuth::Bearer(token.to_owned())),
            (token, _, _) => Some(RegistryAuth::Bearer(token.to_owned())),
        })
        .collect();
    if list.is_empty() {
        list.push(RegistryAuth::Anonymous);
    }
    list
}

/// Words an error as the kubelet's users know it.
pub(crate) fn explain(image: &str, whole: &str, error: &OciDistributionError) -> Error {
    let head = format!("failed to pull and unpack image {whole:?}: failed to resolve reference {whole:?}");
    let denied = || {
        Error::PermissionDenied(format!(
            "{head}: pull access denied, repository does not exist or may require authorization: {}",
            chain(error)
        ))
    };
    let missing = || Error::NotFound(format!("{head}: {whole}: not found"));
    match error {
        OciDistributionError::ImageManifestNotFoundError(text) if text.contains("platform") => Error::NotFound(
            format!("failed to pull and unpack image {whole:?}: no match for platform in manifest: not found"),
        ),
        OciDistributionError::ImageManifestNotFoundError(_) => missing(),
        OciDistributionError::RegistryError { envelope, .. } => {
            let has = |codes: &[OciErrorCode]| envelope.errors.iter().any(|e| codes.contains(&e.code));
            if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
                missing()
            } else if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                denied()
            } else {
                Error::Internal(format!("{head}: {error}"))
            }
        }
        OciDistributionError::ServerError { code: 404, .. } => missing(),
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_)
        | OciDistributionError::ServerError { code: 401 | 403, .. } => denied(),
        OciDistributionError::RequestError(_) => {
            Error::Internal(format!("{head}: failed to do request for {image}: {}", chain(error)))
        }
        other => Error::Internal(format!("failed to pull and unpack image {whole:?}: {}", chain(other))),
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_goes_without_tls() {
        for (host, plain) in [("127.0.0.1:5000", true), ("localhost", true), ("[::1]:80", true), ("10.0.0.1:80", false)]
        {
            assert_eq!(is_loopback(host), plain, "{host}");
        }
    }

    #[test]
    fn mirrors_come_first() {
        let mirrors = BTreeMap::from([("a.test".to_owned(), vec!["m.test".to_owned()])]);
        let config = RegistryConfig { mirrors, ..RegistryConfig::default() };
        assert_eq!(config.hosts("a.test"), ["m.test", "a.test"]);
        assert_eq!(config.hosts("b.test"), ["b.test"]);
    }
}
