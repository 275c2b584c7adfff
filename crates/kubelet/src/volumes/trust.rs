//! Bundles of trust in volumes: every certificate once, in an order that says nothing.

use super::Volumes;
use super::content::Failure;
use ironclad_api::selector::LabelSelector;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Volumes {
    /// What a projection of bundles holds; nothing when it is optional and there are none.
    pub(super) async fn bundle(&self, part: &ClusterTrustBundleProjection) -> Result<Option<Vec<u8>>, Failure> {
        let Some((signers, wake)) = &self.signers else { return Ok(None) };
        let chosen = chosen(&signers.bundles(wake).await, part)?;
        let optional = part.optional == Some(true);
        match (chosen.is_empty(), &part.name) {
            (false, _) => Ok(Some(merged(&chosen))),
            (true, _) if optional => Ok(Some(Vec::new())),
            (true, Some(name)) => Err(format!("clustertrustbundle.certificates.k8s.io {name:?} not found").into()),
            (true, None) => {
                let why = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
                Err(why.to_owned().into())
            }
        }
    }
}

fn chosen(
    all: &[Arc<ClusterTrustBundle>],
    part: &ClusterTrustBundleProjection,
) -> Result<Vec<Arc<ClusterTrustBundle>>, String> {
    let mut out = all.to_vec();
    if let Some(name) = &part.name {
        out.retain(|b| b.metadata.name.as_ref() == Some(name));
        return Ok(out);
    }
    // Without a selector nothing is chosen, with an empty one everything.
    let selector = LabelSelector::from_meta(part.label_selector.as_ref())?;
    out.retain(|b| b.spec.signer_name == part.signer_name && selector.matches(&b.metadata.labels));
    Ok(out)
}

fn merged(bundles: &[Arc<ClusterTrustBundle>]) -> Vec<u8> {
    let blocks = bundles.iter().flat_map(|b| pem::parse_many(&b.spec.trust_bundle).unwrap_or_default());
    let ders: BTreeSet<Vec<u8>> = blocks.filter(|b| b.tag() == "CERTIFICATE").map(pem::Pem::into_contents).collect();
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text: String =
        ders.into_iter().map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der), lines)).collect();
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bundle(name: &str, signer: &str, label: &str, der: &[&[u8]]) -> Arc<ClusterTrustBundle> {
        let text: String = der.iter().map(|d| pem::encode(&pem::Pem::new("CERTIFICATE", d.to_vec()))).collect();
        let signer = if signer.is_empty() { json!(null) } else { json!(signer) };
        let value = json!({"metadata": {"name": name, "labels": {"v": label}}, "spec": {"signerName": signer, "trustBundle": text}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn bundles_are_chosen_by_name_or_by_signer_and_labels() {
        let all = [
            bundle("a", "x.org/s", "1", &[b"one"]),
            bundle("b", "x.org/s", "2", &[b"two", b"one"]),
            bundle("c", "", "1", &[b"three"]),
        ];
        let of = |part: serde_json::Value| {
            let part: ClusterTrustBundleProjection = serde_json::from_value(part).unwrap();
            chosen(&all, &part).unwrap().iter().map(|b| b.metadata.name.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of(json!({"name": "c", "path": "p"})), ["c"]);
        assert_eq!(of(json!({"signerName": "x.org/s", "labelSelector": {}, "path": "p"})), ["a", "b"]);
        assert_eq!(
            of(json!({"signerName": "x.org/s", "labelSelector": {"matchLabels": {"v": "2"}}, "path": "p"})),
            ["b"]
        );
        assert!(of(json!({"signerName": "x.org/s", "path": "p"})).is_empty());
        let text = String::from_utf8(merged(&all[..2])).unwrap();
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "each once: {text}");
    }
}
