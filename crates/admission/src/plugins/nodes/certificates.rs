//! Certificates: a kubelet asks for its own, and for those of its pods.

use super::{Checked, MIRROR, NodeRestriction, Refusal, on, refuse};
use crate::{Operation, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::{ApiError, Reason, object};
use ironclad_json::Value;

const HEAD: &[u8] = b"-----BEGIN CERTIFICATE REQUEST-----";
const SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// Of the signers of kubelets a node asks for certificates of its own name only.
pub(super) fn request(request: &Request, node: &str) -> Checked {
    let spec = request.object.as_ref().map_or(&Value::Null, |o| &o["spec"]);
    if request.operation != Operation::Create || !SIGNERS.contains(&object::text(spec, &["signerName"])) {
        return Ok(());
    }
    let unreadable = |why: String| Refusal::from(format!("unable to parse csr: {why}"));
    let pem = STANDARD.decode(object::text(spec, &["request"])).map_err(|e| unreadable(e.to_string()))?;
    if !pem.windows(HEAD.len()).any(|part| part == HEAD) {
        return Err(unreadable("PEM block type must be CERTIFICATE REQUEST".to_owned()));
    }
    let asked = ironclad_auth::pki::requested(&pem).map_err(|e| unreadable(e.to_string()))?;
    match asked.common_name == format!("system:node:{node}") {
        true => Ok(()),
        false => refuse(format!("can only create a node CSR with CN=system:node:{node}")),
    }
}

/// What a cache may not have seen yet is no refusal for good.
fn later(why: String) -> Refusal {
    Refusal::Other(ApiError::new(Reason::Unknown, why))
}

/// What is named by a request and is not there.
fn missing(what: &str, name: &str, why: Refusal) -> Refusal {
    match why {
        Refusal::Other(error) => {
            later(format!("while retrieving {what} {name:?} named in the PodCertificateRequest: {}", error.message))
        }
        Refusal::Forbidden(why) => Refusal::Forbidden(why),
    }
}

impl NodeRestriction {
    pub(super) async fn pod_certificate(&self, request: &Request, node: &str) -> Checked {
        if request.operation != Operation::Create {
            return refuse(format!("unexpected operation {}", request.operation.as_str()));
        }
        if !request.subresource.is_empty() {
            return refuse(format!("unexpected subresource {}", request.subresource));
        }
        let spec = request.object.as_ref().map_or(&Value::Null, |o| &o["spec"]);
        let of = |field: &str| object::text(spec, &[field]);
        if of("nodeName") != node {
            return refuse(format!(
                "PodCertificateRequest.Spec.NodeName={:?}, which is not the requesting node {node:?}",
                of("nodeName")
            ));
        }
        let shown = format!("{}/{}", request.namespace, of("podName"));
        let known = self.find("nodes", "", node).map_err(|why| missing("node", node, why))?;
        if object::uid(&known) != of("nodeUID") {
            let (given, found) = (of("nodeUID"), object::uid(&known));
            return Err(later(format!(
                "PodCertificateRequest for pod {shown:?} names node UID {given:?}, inconsistent with the running node ({found:?})"
            )));
        }
        let pod = self.find("pods", &request.namespace, of("podName"));
        let pod = pod.map_err(|why| missing("pod", &shown, why))?;
        if object::uid(&pod) != of("podUID") {
            let (given, found) = (of("podUID"), object::uid(&pod));
            return Err(later(format!(
                "PodCertificateRequest for pod {shown:?} contains pod UID ({given:?}) which differs from running pod {found:?}"
            )));
        }
        if !on(&pod, node) {
            return refuse(format!("pod {shown:?} is not running on node {node:?} named in the PodCertificateRequest"));
        }
        if pod["metadata"]["annotations"].get(MIRROR).is_some() {
            return refuse(format!("pod {shown:?} is a mirror pod"));
        }
        let (given, account) = (of("serviceAccountName"), object::text(&pod, &["spec", "serviceAccountName"]));
        if given != account {
            return refuse(format!(
                "PodCertificateRequest for pod {shown:?} contains serviceAccountName ({given:?}) that differs from running pod ({account:?})"
            ));
        }
        let found = self.find("serviceaccounts", &request.namespace, account);
        let whole = format!("{}/{account}", request.namespace);
        let found = found.map_err(|why| missing("service account", &whole, why))?;
        if object::uid(&found) != of("serviceAccountUID") {
            let (given, found) = (of("serviceAccountUID"), object::uid(&found));
            return Err(later(format!(
                "PodCertificateRequest for pod {shown:?} names service account UID {given:?}, which differs from the running service account ({found:?})"
            )));
        }
        self.signer(request, &pod, of("signerName"), account, &shown).await
    }

    /// A node asks only those signers for a pod's certificate of whom the pod mounts one.
    async fn signer(&self, request: &Request, pod: &Value, signer: &str, account: &str, shown: &str) -> Checked {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut sources = volumes.flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten());
        if sources.any(|s| s["podCertificate"]["signerName"] == signer) {
            return Ok(());
        }
        let verb = "request-serviceaccounts-podcertificate-signer";
        let resource = signer.replace('/', ":");
        if self.may_ask_for(request, "certificates.k8s.io", &resource, verb, account).await {
            return Ok(());
        }
        refuse(format!("pod {shown:?} does not mount a podCertificate projected volume for signer {signer:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_api::GroupResource;

    #[test]
    fn what_is_missing_is_told_without_a_reason() {
        let gone = ApiError::not_found(&GroupResource::new("", "pod"), "a");
        let Refusal::Other(error) = missing("pod", "d/a", Refusal::Other(gone)) else {
            panic!("it is refused for good")
        };
        let want = "while retrieving pod \"d/a\" named in the PodCertificateRequest: pod \"a\" not found";
        assert_eq!((error.message.as_str(), error.reason, error.code), (want, Reason::Unknown, 500));
    }
}
