//! The roles of stock's controllers (`system:controller:*`), each bound to a service account of kube-system: for a
//! controller manager that runs with `--use-service-account-credentials`.

/// Every one of them may write events.
pub(super) const EVENTS: &str = "create,patch,update|,events.k8s.io|events";

/// Name and rules.
pub(super) const CONTROLLERS: &[(&str, &[&str])] = &[
    (
        "attachdetach-controller",
        &[
            "list,watch||persistentvolumeclaims,persistentvolumes",
            "get,list,watch||nodes",
            "patch,update||nodes/status",
            "list,watch||pods",
            "create,delete,get,list,patch,watch|storage.k8s.io|volumeattachments",
            "get,list,watch|storage.k8s.io|csidrivers,csinodes",
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        &["escalate,get,list,patch,update,watch|rbac.authorization.k8s.io|clusterroles"],
    ),
    (
        "cronjob-controller",
        &[
            "get,list,update,watch|batch|cronjobs",
            "create,delete,get,list,patch,update,watch|batch|jobs",
            "update|batch|cronjobs/status",
            "update|batch|cronjobs/finalizers",
            "delete,list||pods",
        ],
    ),
    (
        "daemon-set-controller",
        &[
            "get,list,watch|apps|daemonsets",
            "update|apps|daemonsets/status",
            "update|apps|daemonsets/finalizers",
            "list,watch||nodes",
            "create,delete,list,patch,watch||pods",
            "create||pods/binding",
            "create,delete,get,list,patch,update,watch|apps|controllerrevisions",
        ],
    ),
    (
        "deployment-controller",
        &[
            "get,list,update,watch|apps|deployments",
            "update|apps|deployments/status",
            "update|apps|deployments/finalizers",
            "create,delete,get,list,patch,update,watch|apps|replicasets",
            "get,list,update,watch||pods",
        ],
    ),
    (
        "disruption-controller",
        &[
            "get,list,watch|apps|deployments",
            "get,list,watch|apps|replicasets",
            "get,list,watch||replicationcontrollers",
            "get,list,watch|policy|poddisruptionbudgets",
            "get,list,watch|apps|statefulsets",
            "patch,update|policy|poddisruptionbudgets/status",
            "patch||pods/status",
            "get|*|*/scale",
        ],
    ),
    (
        "endpoint-controller",
        &["get,list,watch||pods,services", "create,delete,get,list,update||endpoints", "create||endpoints/restricted"],
    ),
    (
        "endpointslice-controller",
        &[
            "get,list,watch||nodes,pods,services",
            "update||services/finalizers",
            "create,delete,get,list,update|discovery.k8s.io|endpointslices",
            "create|discovery.k8s.io|endpointslices/restricted",
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            "get,list,watch||endpoints,services",
            "update||endpoints/finalizers",
            "update||services/finalizers",
            "create,delete,get,list,update|discovery.k8s.io|endpointslices",
            "create|discovery.k8s.io|endpointslices/restricted",
        ],
    ),
    (
        "ephemeral-volume-controller",
        &["update||pods/finalizers", "get,list,watch||pods", "create,get,list,watch||persistentvolumeclaims"],
    ),
    (
        "expand-controller",
        &[
            "get,list,patch,update,watch||persistentvolumes",
            "get,list,patch,update,watch||persistentvolumeclaims",
            "patch,update||persistentvolumeclaims/status",
            "get,list,watch|storage.k8s.io|storageclasses",
        ],
    ),
    ("generic-garbage-collector", &["delete,get,list,patch,update,watch|*|*"]),
    (
        "horizontal-pod-autoscaler",
        &[
            "get,list,watch|autoscaling|horizontalpodautoscalers",
            "update|autoscaling|horizontalpodautoscalers/status",
            "get,update|*|*/scale",
            "list||pods",
            "list|metrics.k8s.io|pods",
            "get,list|custom.metrics.k8s.io|*",
            "get,list|external.metrics.k8s.io|*",
        ],
    ),
    (
        "job-controller",
        &[
            "get,list,patch,update,watch|batch|jobs",
            "update|batch|jobs/status",
            "update|batch|jobs/finalizers",
            "create,delete,list,patch,watch||pods",
        ],
    ),
    (
        "legacy-service-account-token-cleaner",
        &["get||configmaps|kube-apiserver-legacy-service-account-token-tracking", "delete,patch||secrets"],
    ),
    (
        "namespace-controller",
        &[
            "delete,get,list,watch||namespaces",
            "update||namespaces/finalize,namespaces/status",
            "delete,deletecollection,get,list|*|*",
        ],
    ),
    (
        "node-controller",
        &[
            "delete,get,list,patch,update||nodes",
            "patch,update||nodes/status",
            "patch,update||pods/status",
            "delete,list||pods",
            "get,list,update|networking.k8s.io|clustercidrs",
        ],
    ),
    (
        "persistent-volume-binder",
        &[
            "create,delete,get,list,update,watch||persistentvolumes",
            "update||persistentvolumes/status",
            "get,list,update,watch||persistentvolumeclaims",
            "update||persistentvolumeclaims/status",
            "create,delete,get,list,watch||pods",
            "get,list,watch|storage.k8s.io|storageclasses",
            "create,delete,get,list,update,watch||endpoints,services",
            "get,list||secrets",
            "get,list||nodes",
            "watch||events",
        ],
    ),
    ("pod-garbage-collector", &["delete,list,watch||pods", "get,list||nodes", "patch||pods/status"]),
    ("pv-protection-controller", &["get,list,update,watch||persistentvolumes"]),
    ("pvc-protection-controller", &["get,list,update,watch||persistentvolumeclaims", "get,list,watch||pods"]),
    (
        "replicaset-controller",
        &[
            "get,list,update,watch|apps|replicasets",
            "update|apps|replicasets/status",
            "update|apps|replicasets/finalizers",
            "create,delete,list,patch,watch||pods",
        ],
    ),
    (
        "replication-controller",
        &[
            "get,list,update,watch||replicationcontrollers",
            "update||replicationcontrollers/status",
            "update||replicationcontrollers/finalizers",
            "create,delete,list,patch,watch||pods",
        ],
    ),
    (
        "resource-claim-controller",
        &[
            "get,list,watch||pods",
            "update||pods/finalizers",
            "create,delete,get,list,watch|resource.k8s.io|resourceclaims",
            "patch,update|resource.k8s.io|resourceclaims,resourceclaims/status",
            "patch,update||pods/status",
        ],
    ),
    ("resourcequota-controller", &["list,watch|*|*", "update||resourcequotas/status"]),
    ("root-ca-cert-publisher", &["create,update||configmaps"]),
    ("route-controller", &["list,watch||nodes", "patch||nodes/status"]),
    ("service-account-controller", &["create||serviceaccounts"]),
    (
        "service-cidrs-controller",
        &[
            "get,list,patch,update,watch|networking.k8s.io|servicecidrs",
            "patch,update|networking.k8s.io|servicecidrs/finalizers,servicecidrs/status",
            "get,list,watch|networking.k8s.io|ipaddresses",
        ],
    ),
    ("service-controller", &["get,list,watch||services", "patch,update||services/status", "list,watch||nodes"]),
    (
        "statefulset-controller",
        &[
            "list,watch||pods",
            "get,list,watch|apps|statefulsets",
            "update|apps|statefulsets/status",
            "update|apps|statefulsets/finalizers",
            "create,delete,get,patch,update||pods",
            "create,delete,get,list,patch,update,watch|apps|controllerrevisions",
            "create,delete,get,list,update,watch||persistentvolumeclaims",
        ],
    ),
    ("taint-eviction-controller", &["delete,get,list||pods", "get||nodes", "patch||pods/status"]),
    ("ttl-after-finished-controller", &["delete,get,list,watch|batch|jobs"]),
    ("ttl-controller", &["list,patch,update,watch||nodes"]),
    (
        "validatingadmissionpolicy-status-controller",
        &[
            "get,list,watch|admissionregistration.k8s.io|validatingadmissionpolicies",
            "get,patch,update|admissionregistration.k8s.io|validatingadmissionpolicies/status",
        ],
    ),
    (
        "volumeattributesclass-protection-controller",
        &[
            "list,watch||persistentvolumeclaims,persistentvolumes",
            "get,list,update,watch|storage.k8s.io|volumeattributesclasses",
        ],
    ),
    (
        "kube-apiserver-serving-clustertrustbundle-publisher",
        &[
            "attest|certificates.k8s.io|signers|kubernetes.io/kube-apiserver-serving",
            "create,delete,list,update,watch|certificates.k8s.io|clustertrustbundles",
        ],
    ),
    ("podcertificaterequestcleaner", &["delete,list,watch|certificates.k8s.io|podcertificaterequests"]),
    (
        "certificate-controller",
        &[
            "delete,get,list,watch|certificates.k8s.io|certificatesigningrequests",
            "update|certificates.k8s.io|certificatesigningrequests/approval,certificatesigningrequests/status",
            "approve,sign|certificates.k8s.io|signers|kubernetes.io/kube-apiserver-client-kubelet",
            "sign|certificates.k8s.io|signers|kubernetes.io/kube-apiserver-client,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
            "create|authorization.k8s.io|subjectaccessreviews",
        ],
    ),
];

/// Roles of a namespace: namespace, name, rules; bound to the service account of the same name.
pub(super) const NAMESPACED: &[(&str, &str, &[&str])] = &[
    ("kube-system", "bootstrap-signer", &["get,list,watch||secrets"]),
    ("kube-system", "cloud-provider", &["create,get,list,watch||configmaps"]),
    ("kube-system", "token-cleaner", &["delete,get,list,watch||secrets", "create,patch,update|,events.k8s.io|events"]),
    ("kube-public", "bootstrap-signer", &["get,list,watch||configmaps", "update||configmaps|cluster-info", EVENTS]),
];

/// What our controllers patch where stock's update: no more than that in another way. Name and rules, bound to the
/// service account of that name beside its stock role.
pub(super) const PATCHES: &[(&str, &[&str])] = &[
    ("deployment-controller", &["patch|apps|deployments,deployments/status"]),
    ("endpoint-controller", &["patch||endpoints"]),
    ("endpointslice-controller", &["patch|discovery.k8s.io|endpointslices"]),
    ("endpointslicemirroring-controller", &["patch|discovery.k8s.io|endpointslices"]),
    ("namespace-controller", &["patch||namespaces/status"]),
    ("pv-protection-controller", &["patch||persistentvolumes"]),
    ("pvc-protection-controller", &["patch||persistentvolumeclaims"]),
    ("replicaset-controller", &["patch|apps|replicasets/status"]),
    ("replication-controller", &["patch||replicationcontrollers/status"]),
    ("root-ca-cert-publisher", &["patch||configmaps|kube-root-ca.crt"]),
];

/// What the controller manager itself patches where stock's updates: tokens into their Secrets, signatures of tokens.
pub(super) const MANAGER: &[&str] = &["patch||secrets", "patch||configmaps|cluster-info"];

/// The same in a namespace: namespace, name, rules.
pub(super) const NAMESPACED_PATCHES: &[(&str, &str, &[&str])] =
    &[("kube-public", "bootstrap-signer", &["patch||configmaps|cluster-info"])];
