//! Certificates of pods: a key is made here, a request names it, a signer answers; and again before the end.
//!
//! Invariant: a private key never leaves the node; a certificate that is still good stays while the next is asked for.

use super::Around;
use super::content::Failure;
use crate::signers::Signers;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{PodCertificateRequest, PodCertificateRequestSpec};
use k8s_openapi::api::core::v1::{PodCertificateProjection, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, RsaKeySize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// After so long a request that nobody sees any more is taken for removed.
const GONE: Duration = Duration::from_mins(10);
/// How long until a request that could not be sent is sent again.
const AGAIN: Duration = Duration::from_secs(10);
/// Refreshes of many pods are spread over this many seconds.
const SPREAD: u64 = 300;

/// A key with its certificates, as PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) chain: String,
}

struct Asked {
    key: String,
    name: String,
    since: Instant,
}

#[derive(Default)]
struct State {
    issued: Option<(Pair, Instant)>,
    asked: Option<Asked>,
    refused: Option<String>,
}

/// The certificates of a pod by volume and place in it.
#[derive(Default)]
pub(super) struct Certificates(HashMap<(String, usize), State>);

/// What became of a request.
enum Answer {
    Pending,
    Refused(String),
    Issued { chain: String, refresh: Timestamp },
}

impl Certificates {
    /// When the first of them is to be asked for anew.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|s| s.asked.is_none() && s.refused.is_none());
        waiting.filter_map(|s| s.issued.as_ref().map(|i| i.1)).min()
    }

    pub(super) async fn get(
        &mut self,
        around: &Around<'_>,
        (signers, wake): &(Arc<Signers>, Arc<Notify>),
        place: (&str, usize),
        part: &PodCertificateProjection,
    ) -> Result<Pair, Failure> {
        let state = self.0.entry((place.0.to_owned(), place.1)).or_default();
        if let Some(asked) = &state.asked {
            match signers.request(&around.plan.namespace, &asked.name, wake).await.map(|r| answer(&r)) {
                Some(Answer::Issued { chain, refresh }) => {
                    let pair = Pair { key: asked.key.clone(), chain };
                    state.issued = Some((pair, later(refresh)));
                    state.asked = None;
                }
                Some(Answer::Refused(why)) => {
                    state.refused = Some(why);
                    state.asked = None;
                }
                None if asked.since.elapsed() > GONE => state.asked = None,
                Some(Answer::Pending) | None => {}
            }
        }
        let due = state.issued.as_ref().is_none_or(|(_, at)| *at <= Instant::now());
        if due && state.asked.is_none() && state.refused.is_none() {
            match ask(around, part).await {
                Ok(asked) => {
                    // From now on the answer wakes the pod.
                    signers.request(&around.plan.namespace, &asked.name, wake).await;
                    state.asked = Some(asked);
                }
                Err(error) => match &mut state.issued {
                    // What is there is good for a while.
                    Some((_, at)) => {
                        tracing::warn!(
                            pod = around.plan.name,
                            error.text,
                            "cannot ask for a certificate, will try again"
                        );
                        *at = Instant::now() + AGAIN;
                    }
                    None => return Err(error),
                },
            }
        }
        match (&state.issued, &state.refused) {
            (Some((pair, _)), _) => Ok(pair.clone()),
            (None, Some(why)) => Err(why.clone().into()),
            (None, None) => {
                let text = "PodCertificateRequest has not been issued yet".to_owned();
                Err(Failure { text, away: true })
            }
        }
    }
}

/// A moment of the clock as one of the machine, and a little behind it.
fn later(at: Timestamp) -> Instant {
    let left = (at.as_second() - Timestamp::now().as_second()).max(0) as u64;
    Instant::now() + Duration::from_secs(left + fastrand::u64(..SPREAD))
}

fn answer(request: &PodCertificateRequest) -> Answer {
    let Some(status) = &request.status else { return Answer::Pending };
    let name = request.metadata.name.as_deref().unwrap_or_default();
    for condition in status.conditions.iter().flatten() {
        let what = match condition.type_.as_str() {
            "Denied" => "denied",
            "Failed" => "failed",
            "Issued" => {
                let (chain, refresh) = (status.certificate_chain.clone(), status.begin_refresh_at.as_ref());
                let Some((chain, refresh)) = chain.zip(refresh) else { return Answer::Pending };
                return Answer::Issued { chain: clean(&chain), refresh: refresh.0 };
            }
            _ => continue,
        };
        let (reason, message) = (&condition.reason, &condition.message);
        return Answer::Refused(format!(
            "PodCertificateRequest {name} was permanently {what}: reason={reason:?} message={message:?}"
        ));
    }
    Answer::Pending
}

/// The certificates of a chain and nothing between them.
fn clean(chain: &str) -> String {
    let blocks = pem::parse_many(chain).unwrap_or_default();
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let blocks = blocks.into_iter().filter(|b| b.tag() == "CERTIFICATE").map(pem::Pem::into_contents);
    blocks.map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der), lines)).collect()
}

fn key(kind: &str) -> Result<KeyPair, String> {
    let made = match kind {
        "RSA3072" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
        "RSA4096" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        "ECDSAP256" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        "ECDSAP384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        "ECDSAP521" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        "ED25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        other => return Err(format!("unknown key type {other:?}")),
    };
    made.map_err(|e| format!("while generating private key: {e}"))
}

/// A new key of this sort (PEM), with an empty request that it has signed (DER).
fn made(kind: &str) -> Result<(String, Vec<u8>), String> {
    let key = key(kind)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(|e| format!("while signing a request: {e}"))?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

async fn ask(around: &Around<'_>, part: &PodCertificateProjection) -> Result<Asked, Failure> {
    let (plan, client) = (around.plan, &around.config.client);
    let failed = |what: &str, e: kube::Error| match e {
        kube::Error::Api(status) => Failure { text: format!("{what}: {}", status.message), away: false },
        other => Failure { text: format!("{what}: {other}"), away: true },
    };
    let account = plan.spec.service_account_name.clone().unwrap_or_else(|| "default".into());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &plan.namespace);
    let found = accounts.get(&account).await.map_err(|e| failed("while fetching service account", e))?;
    let node = around.config.own_node();
    node.synced().await;
    let node_name = &around.config.node_name;
    let node = node.get("", node_name).ok_or_else(|| format!("node {node_name:?} not found"))?;
    let kind = part.key_type.clone();
    // Large keys take a while to find.
    let made = tokio::task::spawn_blocking(move || made(&kind)).await.map_err(|e| e.to_string())?;
    let (key, stub) = made?;
    let spec = PodCertificateRequestSpec {
        signer_name: part.signer_name.clone(),
        pod_name: plan.name.clone(),
        pod_uid: plan.uid.clone(),
        service_account_name: account,
        service_account_uid: found.metadata.uid.unwrap_or_default(),
        node_name: node_name.clone(),
        node_uid: node.metadata.uid.clone().unwrap_or_default(),
        max_expiration_seconds: part.max_expiration_seconds,
        stub_pkc_s10_request: ByteString(stub),
        unverified_user_annotations: part.user_annotations.clone(),
    };
    let metadata = ObjectMeta { generate_name: Some("req-".to_owned()), ..ObjectMeta::default() };
    let request = PodCertificateRequest { metadata, spec, status: None };
    let requests: Api<PodCertificateRequest> = Api::namespaced(client.clone(), &plan.namespace);
    let sent = requests.create(&PostParams::default(), &request).await;
    let sent = sent.map_err(|e| failed("while creating PodCertificateRequest", e))?;
    Ok(Asked { key, name: sent.metadata.name.unwrap_or_default(), since: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_sort_of_key_signs_an_empty_request() {
        for kind in ["RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"] {
            let (key, der) = made(kind).unwrap();
            assert!(key.contains("PRIVATE KEY") && !der.is_empty(), "{kind}");
        }
        assert!(made("DSA").is_err());
    }

    #[test]
    fn an_answer_is_final_once_it_is_given() {
        let of = |status: serde_json::Value| {
            let value = json!({"metadata": {"name": "r"}, "spec": {"signerName": "a/b", "podName": "p", "podUID": "", "serviceAccountName": "",
                "serviceAccountUID": "", "nodeName": "", "nodeUID": "", "stubPKCS10Request": ""}, "status": status});
            answer(&serde_json::from_value(value).unwrap())
        };
        let condition = |kind: &str| json!([{"type": kind, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        assert!(matches!(of(json!({})), Answer::Pending));
        assert!(
            matches!(of(json!({"conditions": condition("Denied")})), Answer::Refused(why) if why.contains("permanently denied"))
        );
        let chain = pem::encode(&pem::Pem::new("CERTIFICATE", b"x".to_vec()));
        let issued = json!({"conditions": condition("Issued"), "certificateChain": format!("junk\n{chain}"), "beginRefreshAt": "2026-01-01T00:00:00Z"});
        assert!(matches!(of(issued), Answer::Issued { chain, .. } if chain.starts_with("-----BEGIN")));
    }
}
