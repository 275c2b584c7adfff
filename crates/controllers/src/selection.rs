//! Which controllers run, by the names that `kube-controller-manager --controllers` has for them.
//!
//! Invariant: a controller here that does the work of several stock ones runs when any of them is chosen.

/// The stock controllers whose work each controller here does: name and older name; the first names it.
const NAMES: &[&[(&str, &str)]] = &[
    &[
        ("serviceaccount-controller", "serviceaccount"),
        ("serviceaccount-token-controller", "serviceaccount-token"),
        ("root-ca-certificate-publisher-controller", "root-ca-cert-publisher"),
    ],
    &[("clusterrole-aggregation-controller", "clusterrole-aggregation")],
    &[("bootstrap-signer-controller", "bootstrapsigner"), ("token-cleaner-controller", "tokencleaner")],
    &[
        ("certificatesigningrequest-signing-controller", "csrsigning"),
        ("certificatesigningrequest-approving-controller", "csrapproving"),
        ("certificatesigningrequest-cleaner-controller", "csrcleaner"),
    ],
    &[(
        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        "kube-apiserver-serving-clustertrustbundle-publisher",
    )],
    &[("podcertificaterequest-cleaner-controller", "podcertificaterequestcleaner")],
    &[("deployment-controller", "deployment")],
    &[("endpointslice-controller", "endpointslice"), ("endpoints-controller", "endpoint")],
    &[("taint-eviction-controller", "")],
    &[("garbage-collector-controller", "garbagecollector")],
    &[("legacy-serviceaccount-token-cleaner-controller", "legacy-service-account-token-cleaner")],
    &[("endpointslice-mirroring-controller", "endpointslicemirroring")],
    &[("namespace-controller", "namespace")],
    &[("node-lifecycle-controller", "nodelifecycle"), ("node-ipam-controller", "nodeipam")],
    &[("pod-garbage-collector-controller", "podgc")],
    &[("validatingadmissionpolicy-status-controller", "")],
    &[
        ("persistentvolume-protection-controller", "pv-protection"),
        ("persistentvolumeclaim-protection-controller", "pvc-protection"),
    ],
    &[("resourcequota-controller", "resourcequota")],
    &[("service-cidr-controller", "")],
    &[("replicaset-controller", "replicaset")],
    &[("replicationcontroller-controller", "replicationcontroller")],
];

/// What `--controllers` says: `*` for all, a name for one more, `-name` for one less.
#[derive(Clone, Debug)]
pub struct Selection(Vec<String>);

impl Default for Selection {
    fn default() -> Self {
        Self(vec!["*".to_owned()])
    }
}

impl Selection {
    /// From the words of the list.
    pub fn new(words: Vec<String>) -> Self {
        if words.is_empty() { Self::default() } else { Self(words) }
    }

    /// Whether a controller runs; `name` is the first of its names.
    pub(crate) fn has(&self, name: &str) -> bool {
        let stock = NAMES.iter().find(|n| n[0].0 == name).copied().unwrap_or_default();
        let said = |sign: &str, names: &(&str, &str)| {
            let name = |word: &String| word.strip_prefix(sign).filter(|n| !n.is_empty()).map(str::to_owned);
            self.0.iter().filter_map(name).any(|n| n == names.0 || n == names.1)
        };
        let all = self.0.iter().any(|w| w == "*");
        stock.iter().any(|n| said("", n)) || (all && !stock.iter().all(|n| said("-", n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_chooses_controllers_as_stock_does() {
        let table = [
            ("", "deployment-controller", true),
            ("*", "deployment-controller", true),
            ("*,bootstrapsigner,tokencleaner", "bootstrap-signer-controller", true),
            ("*,-deployment-controller", "deployment-controller", false),
            ("*,-deployment", "deployment-controller", false),
            ("deployment", "deployment-controller", true),
            ("deployment", "replicaset-controller", false),
            ("*,-csrcleaner", "certificatesigningrequest-signing-controller", true),
            ("statefulset,daemonset", "deployment-controller", false),
        ];
        for (words, name, want) in table {
            let words: Vec<String> = words.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect();
            assert_eq!(Selection::new(words.clone()).has(name), want, "{words:?} {name}");
        }
    }

    #[test]
    fn no_name_means_two_controllers() {
        let mut all: Vec<&str> =
            NAMES.iter().flat_map(|n| n.iter().flat_map(|(a, b)| [*a, *b])).filter(|n| !n.is_empty()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
