//! What is done next with a request: pure functions of the request and of the time.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

pub(super) const APPROVED: &str = "Approved";
pub(super) const DENIED: &str = "Denied";
pub(super) const FAILED: &str = "Failed";

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const SIGNATURE: &str = "digital signature";
const ENCIPHERMENT: &str = "key encipherment";
const CLIENT_AUTH: &str = "client auth";
const SERVER_AUTH: &str = "server auth";

const HOUR: i64 = 3600;

/// What a request (the PKCS#10 one) asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of X.509")]
pub struct Asked {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: usize,
    pub ip_addresses: usize,
    pub emails: usize,
    pub uris: usize,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is old.
    Delete,
    /// Approve it, if its sender may create the subresource.
    Approve {
        subresource: &'static str,
        message: &'static str,
    },
    /// Its signer does not take it.
    Fail(String),
    Sign,
    Wait,
}

pub(super) fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).any(|c| c.type_ == kind)
}

fn conditions(
    request: &CertificateSigningRequest,
) -> impl Iterator<Item = &k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition> {
    request.status.iter().flat_map(|s| s.conditions.iter().flatten())
}

fn issued(request: &CertificateSigningRequest) -> bool {
    request.status.as_ref().and_then(|s| s.certificate.as_ref()).is_some_and(|c| !c.0.is_empty())
}

/// When a request goes by itself: an hour behind its decision, a day behind its creation without one.
fn end(request: &CertificateSigningRequest) -> Option<i64> {
    let decided = conditions(request).filter_map(|c| c.last_update_time.as_ref()).map(|t| t.0.as_second()).max();
    let created = request.metadata.creation_timestamp.as_ref()?.0.as_second();
    match decided {
        Some(at) if has(request, APPROVED) && !issued(request) && !has(request, FAILED) => Some(at + 24 * HOUR),
        Some(at) => Some(at + HOUR),
        None => Some(created + 24 * HOUR),
    }
}

/// How long until the request is old; `None` when nobody knows when it began.
pub(super) fn age_limit(request: &CertificateSigningRequest, now: Timestamp) -> Option<Duration> {
    Some(Duration::from_secs((end(request)? - now.as_second()).max(1) as u64))
}

pub(super) fn next(request: &CertificateSigningRequest, asked: Result<&Asked, String>, now: Timestamp) -> Next {
    if end(request).is_some_and(|end| end <= now.as_second()) {
        return Next::Delete;
    }
    if issued(request) || has(request, DENIED) || has(request, FAILED) {
        return Next::Wait;
    }
    let spec = &request.spec;
    let usages = spec.usages.clone().unwrap_or_default();
    if !has(request, APPROVED) {
        let kubelet =
            spec.signer_name == KUBELET_CLIENT && asked.as_ref().is_ok_and(|a| kubelet_client(a, &usages).is_ok());
        let own = asked.is_ok_and(|a| spec.username.as_deref() == Some(a.common_name.as_str()));
        return match (kubelet, own) {
            (true, true) => Next::Approve {
                subresource: "selfnodeclient",
                message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
            },
            (true, false) => Next::Approve {
                subresource: "nodeclient",
                message: "Auto approving kubelet client certificate after SubjectAccessReview.",
            },
            (false, _) => Next::Wait,
        };
    }
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => return Next::Fail(why),
    };
    let checked = match spec.signer_name.as_str() {
        CLIENT => client(&usages),
        KUBELET_CLIENT => kubelet_client(asked, &usages),
        KUBELET_SERVING => kubelet_serving(asked, &usages),
        // Somebody else signs these.
        _ => return Next::Wait,
    };
    checked.map_or_else(Next::Fail, |()| Next::Sign)
}

/// Whether there is `needed` and nothing but it and what is `allowed`.
fn only(usages: &[String], needed: &[&str], allowed: &[&str]) -> bool {
    let known = |u: &String| needed.contains(&u.as_str()) || allowed.contains(&u.as_str());
    usages.iter().all(known) && needed.iter().all(|n| usages.iter().any(|u| u == n))
}

fn no_match(usages: &[String]) -> String {
    format!("usages did not match expected ones: [{}]", usages.join(" "))
}

fn client(usages: &[String]) -> Result<(), String> {
    if only(usages, &[CLIENT_AUTH], &[SIGNATURE, ENCIPHERMENT]) { Ok(()) } else { Err(no_match(usages)) }
}

fn of_a_node(asked: &Asked) -> Result<(), String> {
    if asked.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    match asked.common_name.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node: ".to_owned()),
    }
}

fn none(names: &[(usize, &str)]) -> Result<(), String> {
    match names.iter().find(|(count, _)| *count > 0) {
        Some((_, what)) => Err(format!("{what} subjectAltNames are not allowed")),
        None => Ok(()),
    }
}

fn kubelet_client(asked: &Asked, usages: &[String]) -> Result<(), String> {
    if asked.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    none(&[(asked.dns_names, "DNS"), (asked.emails, "Email"), (asked.ip_addresses, "IP"), (asked.uris, "URI")])?;
    of_a_node(asked)?;
    match only(usages, &[SIGNATURE, CLIENT_AUTH], &[ENCIPHERMENT]) {
        true => Ok(()),
        false => Err(no_match(usages)),
    }
}

fn kubelet_serving(asked: &Asked, usages: &[String]) -> Result<(), String> {
    if asked.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    if asked.dns_names == 0 && asked.ip_addresses == 0 {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    none(&[(asked.emails, "Email"), (asked.uris, "URI")])?;
    match only(usages, &[SIGNATURE, SERVER_AUTH], &[ENCIPHERMENT]) {
        true => of_a_node(asked),
        false => Err(no_match(usages)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn request(signer: &str, usages: &[&str], status: ironclad_json::Value) -> CertificateSigningRequest {
        ironclad_json::from_value(json!({
            "metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"request": "", "signerName": signer, "usages": usages, "username": "system:node:a"},
            "status": status,
        }))
        .unwrap()
    }

    fn at(hours: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs((hours * HOUR) as u64)
    }

    fn decided(kind: &str) -> ironclad_json::Value {
        json!({"conditions": [{"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"}]})
    }

    #[test]
    fn requests_go_the_way_of_their_signer() {
        let node = Asked {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..Asked::default()
        };
        let other = Asked { common_name: "system:node:b".into(), ..node.clone() };
        let named = Asked { dns_names: 1, ..node.clone() };
        let jane = Asked { common_name: "jane".into(), ..Asked::default() };
        let client = [SIGNATURE, CLIENT_AUTH];
        let server = [SIGNATURE, SERVER_AUTH];
        let none = json!({});
        let subresource = |next: &Next| if let Next::Approve { subresource, .. } = next { subresource } else { "" };
        let go = |signer: &str, usages: &[&str], status: &ironclad_json::Value, asked: &Asked| {
            next(&request(signer, usages, status.clone()), Ok(asked), at(1))
        };
        assert_eq!(subresource(&go(KUBELET_CLIENT, &client, &none, &node)), "selfnodeclient");
        assert_eq!(subresource(&go(KUBELET_CLIENT, &client, &none, &other)), "nodeclient");
        assert_eq!(go(KUBELET_CLIENT, &server, &none, &node), Next::Wait);
        assert_eq!(go(CLIENT, &client, &none, &jane), Next::Wait, "people's are approved by people");
        let yes = decided(APPROVED);
        assert_eq!(go(CLIENT, &client, &yes, &jane), Next::Sign);
        assert_eq!(go(KUBELET_CLIENT, &client, &yes, &node), Next::Sign);
        assert_eq!(go(KUBELET_SERVING, &server, &yes, &named), Next::Sign);
        assert_eq!(go("example.com/mine", &client, &yes, &jane), Next::Wait);
        assert_eq!(go(CLIENT, &client, &decided(DENIED), &jane), Next::Wait);
        let fails = [
            (KUBELET_CLIENT, &client, &jane, "subject organization is not system:nodes"),
            (KUBELET_CLIENT, &client, &named, "DNS subjectAltNames are not allowed"),
            (KUBELET_SERVING, &server, &node, "DNS or IP subjectAltName is required"),
            (CLIENT, &server, &jane, "usages did not match expected ones: [digital signature server auth]"),
        ];
        for (signer, usages, asked, why) in fails {
            assert_eq!(go(signer, usages, &yes, asked), Next::Fail(why.to_owned()), "{signer}");
        }
    }

    #[test]
    fn old_requests_go() {
        let asked = Asked::default();
        let next = |status, hours| super::next(&request(CLIENT, &[], status), Ok(&asked), at(hours));
        assert_eq!(next(json!({}), 23), Next::Wait);
        assert_eq!(next(json!({}), 24), Next::Delete);
        assert_eq!(next(decided(DENIED), 2), Next::Delete);
        let mut done = decided(APPROVED);
        done["certificate"] = json!("YQ==");
        assert_eq!(next(done.clone(), 1), Next::Wait);
        assert_eq!(next(done, 2), Next::Delete);
        let pending = request(CLIENT, &[], json!({}));
        assert_eq!(age_limit(&pending, at(23)), Some(Duration::from_hours(1)));
    }
}
