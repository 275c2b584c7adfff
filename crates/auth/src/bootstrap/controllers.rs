//! The roles of stock's controllers (`system:controller:*`), each bound to a service account of kube-system: for a
//! controller manager that runs with `--use-service-account-credentials`.

/// Those that write events.
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
            EVENTS,
            "create,delete,get,list,watch|storage.k8s.io|volumeattachments",
            "get,list,watch|storage.k8s.io|csidrivers",
            "get,list,watch|storage.k8s.io|csinodes",
        ],
    ),
    (
        "certificate-controller",
        &[
            "delete,get,list,watch|certificates.k8s.io|certificatesigningrequests",
            "update|certificates.k8s.io|certificatesigningrequests/approval,certificatesigningrequests/status",
            "approve|certificates.k8s.io|signers|kubernetes.io/kube-apiserver-client-kubelet",
            "sign|certificates.k8s.io|signers|kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
            "create|authorization.k8s.io|subjectaccessreviews",
            EVENTS,
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
            "delete,list,watch||pods",
            EVENTS,
        ],
    ),
    (
        "daemon-set-controller",
        &[
            "get,list,watch|apps,extensions|daemonsets",
            "update|apps,extensions|daemonsets/status",
            "update|apps,extensions|daemonsets/finalizers",
            "list,watch||nodes",
            "create,delete,list,patch,watch||pods",
            "create||pods/binding",
            "create,delete,get,list,patch,update,watch|apps|controllerrevisions",
            EVENTS,
        ],
    ),
    (
        "deployment-controller",
        &[
            "get,list,update,watch|apps,extensions|deployments",
            "update|apps,extensions|deployments/status",
            "update|apps,extensions|deployments/finalizers",
            "create,delete,get,list,patch,update,watch|apps,extensions|replicasets",
            "get,list,update,watch||pods",
            EVENTS,
        ],
    ),
    (
        "device-taint-eviction-controller",
        &[
            "delete,get,list,watch||pods",
            "patch,update||pods/status",
            "get,list,watch|resource.k8s.io|resourceclaims",
            "get,list,watch|resource.k8s.io|resourceslices",
            "get,list,watch|resource.k8s.io|deviceclasses",
            EVENTS,
        ],
    ),
    (
        "disruption-controller",
        &[
            "get,list,watch|apps,extensions|deployments",
            "get,list,watch|apps,extensions|replicasets",
            "get,list,watch||replicationcontrollers",
            "get,list,watch|policy|poddisruptionbudgets",
            "get,list,watch|apps|statefulsets",
            "update|policy|poddisruptionbudgets/status",
            "patch,update||pods/status",
            "get|*|*/scale",
            EVENTS,
        ],
    ),
    (
        "endpoint-controller",
        &[
            "get,list,watch||pods,services",
            "create,delete,get,list,update,watch||endpoints",
            "create||endpoints/restricted",
            EVENTS,
        ],
    ),
    (
        "endpointslice-controller",
        &[
            "get,list,watch||nodes,pods,services",
            "update||services/finalizers",
            "create,delete,get,list,update,watch|discovery.k8s.io|endpointslices",
            "create|discovery.k8s.io|endpointslices/restricted",
            EVENTS,
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            "get,list,watch||endpoints,services",
            "update||services/finalizers",
            "update||endpoints/finalizers",
            "create,delete,get,list,update,watch|discovery.k8s.io|endpointslices",
            "create|discovery.k8s.io|endpointslices/restricted",
            EVENTS,
        ],
    ),
    (
        "ephemeral-volume-controller",
        &["get,list,watch||pods", "update||pods/finalizers", "create,get,list,watch||persistentvolumeclaims", EVENTS],
    ),
    (
        "expand-controller",
        &[
            "get,list,patch,update,watch||persistentvolumes",
            "patch,update||persistentvolumeclaims/status",
            "get,list,watch||persistentvolumeclaims",
            EVENTS,
        ],
    ),
    ("generic-garbage-collector", &["delete,get,list,patch,update,watch|*|*", EVENTS]),
    (
        "horizontal-pod-autoscaler",
        &[
            "get,list,watch|autoscaling|horizontalpodautoscalers",
            "update|autoscaling|horizontalpodautoscalers/status",
            "get,update|*|*/scale",
            "list,watch||pods",
            "list,watch|metrics.k8s.io|pods",
            "get,list,watch|custom.metrics.k8s.io|*",
            "get,list,watch|external.metrics.k8s.io|*",
            EVENTS,
        ],
    ),
    (
        "job-controller",
        &[
            "get,list,patch,update,watch|batch|jobs",
            "update|batch|jobs/status",
            "update|batch|jobs/finalizers",
            "create,delete,list,patch,watch||pods",
            EVENTS,
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
            "delete,deletecollection,get,list,watch|*|*",
        ],
    ),
    (
        "node-controller",
        &[
            "delete,get,list,patch,update,watch||nodes",
            "patch,update||nodes/status",
            "patch,update||pods/status",
            "delete,get,list,watch||pods",
            EVENTS,
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
            "list,watch||nodes",
            EVENTS,
            "watch||events",
        ],
    ),
    ("pod-garbage-collector", &["delete,list,watch||pods", "get,list,watch||nodes", "patch||pods/status"]),
    ("pv-protection-controller", &["get,list,update,watch||persistentvolumes", EVENTS]),
    (
        "pvc-protection-controller",
        &[
            "get,list,update,watch||persistentvolumeclaims",
            "update||persistentvolumeclaims/status",
            "get,list,watch||pods",
            EVENTS,
        ],
    ),
    (
        "replicaset-controller",
        &[
            "get,list,update,watch|apps,extensions|replicasets",
            "update|apps,extensions|replicasets/status",
            "update|apps,extensions|replicasets/finalizers",
            "create,delete,list,patch,watch||pods",
            EVENTS,
        ],
    ),
    (
        "replication-controller",
        &[
            "get,list,update,watch||replicationcontrollers",
            "update||replicationcontrollers/status",
            "update||replicationcontrollers/finalizers",
            "create,delete,list,patch,watch||pods",
            EVENTS,
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
            EVENTS,
            "patch,update|resource.k8s.io|resourceclaims/binding",
        ],
    ),
    ("resourcequota-controller", &["list,watch|*|*", "update||resourcequotas/status", EVENTS]),
    ("root-ca-cert-publisher", &["create,update||configmaps", EVENTS]),
    ("route-controller", &["list,watch||nodes", "patch||nodes/status", EVENTS]),
    (
        "selinux-warning-controller",
        &[
            EVENTS,
            "get,list,watch||persistentvolumes",
            "get,list,watch||persistentvolumeclaims",
            "get,list,watch||pods",
            "get,list,watch|storage.k8s.io|csidrivers",
        ],
    ),
    ("service-account-controller", &["create||serviceaccounts", EVENTS]),
    (
        "service-cidrs-controller",
        &[
            "get,list,patch,update,watch|networking.k8s.io|servicecidrs",
            "patch,update|networking.k8s.io|servicecidrs/finalizers",
            "patch,update|networking.k8s.io|servicecidrs/status",
            "get,list,watch|networking.k8s.io|ipaddresses",
            EVENTS,
        ],
    ),
    ("service-controller", &["get,list,watch||services", "patch,update||services/status", "list,watch||nodes", EVENTS]),
    (
        "statefulset-controller",
        &[
            "list,watch||pods",
            "get,list,watch|apps|statefulsets",
            "update|apps|statefulsets/status",
            "update|apps|statefulsets/finalizers",
            "create,delete,get,patch,update||pods",
            "create,delete,get,list,patch,update,watch|apps|controllerrevisions",
            "create,get,list,watch||persistentvolumeclaims",
            "delete,update||persistentvolumeclaims",
            "update||pods/finalizers",
            EVENTS,
        ],
    ),
    ("ttl-after-finished-controller", &["delete,get,list,watch|batch|jobs", EVENTS]),
    ("ttl-controller", &["list,patch,update,watch||nodes", EVENTS]),
    (
        "validatingadmissionpolicy-status-controller",
        &[
            "get,list,watch|admissionregistration.k8s.io|validatingadmissionpolicies",
            "get,patch,update|admissionregistration.k8s.io|validatingadmissionpolicies/status",
            EVENTS,
        ],
    ),
    (
        "volumeattributesclass-protection-controller",
        &[
            "get,list,watch||persistentvolumeclaims",
            "get,list,watch||persistentvolumes",
            "get,list,update,watch|storage.k8s.io|volumeattributesclasses",
            EVENTS,
        ],
    ),
    (
        "kube-apiserver-serving-clustertrustbundle-publisher",
        &[
            "attest|certificates.k8s.io|signers|kubernetes.io/kube-apiserver-serving",
            "create,delete,list,update,watch|certificates.k8s.io|clustertrustbundles",
            EVENTS,
        ],
    ),
    ("podcertificaterequestcleaner", &["delete,list,watch|certificates.k8s.io|podcertificaterequests", EVENTS]),
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
];

/// What the controller manager itself patches where stock's updates: tokens into their Secrets, signatures of tokens.
pub(super) const MANAGER: &[&str] = &["patch||secrets", "patch||configmaps|cluster-info"];

/// The same in a namespace: namespace, name, rules.
pub(super) const NAMESPACED_PATCHES: &[(&str, &str, &[&str])] =
    &[("kube-public", "bootstrap-signer", &["patch||configmaps|cluster-info"])];
