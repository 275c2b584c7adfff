//! The columns that the stock server prints of each kind. `:` gives the type of a column that is no text, `+` marks
//! one that `-o wide` shows.

use super::all;

const STOCK: &str = "
CSIDriver: Name,AttachRequired:boolean,PodInfoOnMount:boolean,StorageCapacity:boolean,TokenRequests,RequiresRepublish:boolean,Modes,Age
CSINode: Name,Drivers:integer,Age
CSIStorageCapacity: Name,Created At:date
CertificateSigningRequest: Name,Age,SignerName,Requestor,RequestedDuration,Condition
ClusterRole: Name,Created At:date
ClusterRoleBinding: Name,Role,Age,Users+,Groups+,ServiceAccounts+
ClusterTrustBundle: Name,SignerName
ComponentStatus: Name,Status,Message,Error
ConfigMap: Name,Data,Age
ControllerRevision: Name,Controller,Revision,Age
CronJob: Name,Schedule,Timezone,Suspend:boolean,Active:integer,Last Schedule,Age,Containers+,Images+,Selector+
CustomResourceDefinition: Name,Created At:date
DaemonSet: Name,Desired:integer,Current:integer,Ready:integer,Up-to-date:integer,Available:integer,Node Selector,Age,Containers+,Images+,Selector+
Deployment: Name,Ready,Up-to-date,Available,Age,Containers+,Images+,Selector+
DeviceClass: Name,Age
DeviceTaintRule: Name,Key,Value,Effect,TimeAdded,Age
EndpointSlice: Name,AddressType,Ports,Endpoints,Age
Endpoints: Name,Endpoints,Age
Event: Last Seen,Type,Reason,Object,Subobject+,Source+,Message,First Seen+,Count+,Name+
FlowSchema: Name,PriorityLevel,MatchingPrecedence,DistinguisherMethod,Age,MissingPL
HorizontalPodAutoscaler: Name,Reference,Targets,MinPods,MaxPods,Replicas,Age
IPAddress: Name,ParentRef
Ingress: Name,Class,Hosts,Address,Ports,Age
IngressClass: Name,Controller,Parameters,Age
Job: Name,Status,Completions,Duration,Age,Containers+,Images+,Selector+
Lease: Name,Holder,Age
LeaseCandidate: Name,LeaseName,BinaryVersion,EmulationVersion,Age
LimitRange: Name,Created At:date
MutatingAdmissionPolicy: Name,Mutations:integer,ParamKind,Age
MutatingAdmissionPolicyBinding: Name,PolicyName,ParamRef,Age
MutatingWebhookConfiguration: Name,Webhooks:integer,Age
Namespace: Name,Status,Age
NetworkPolicy: Name,Pod-Selector,Age
Node: Name,Status,Roles,Age,Version,Internal-IP+,External-IP+,OS-Image+,Kernel-Version+,Container-Runtime+
PersistentVolume: Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age,VolumeMode+
PersistentVolumeClaim: Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,VolumeMode+
Pod: Name,Ready,Status,Restarts,Age,IP+,Node+,Nominated Node+,Readiness Gates+
PodCertificateRequest: Name,PodName,ServiceAccountName,NodeName,SignerName,State
PodDisruptionBudget: Name,Min Available,Max Unavailable,Allowed Disruptions:integer,Age
PodTemplate: Name,Containers,Images,Pod Labels
PriorityClass: Name,Value:integer,Global-Default:boolean,Age,PreemptionPolicy
PriorityLevelConfiguration: Name,Type,NominalConcurrencyShares,Queues,HandSize,QueueLengthLimit,Age
ReplicaSet: Name,Desired:integer,Current:integer,Ready:integer,Age,Containers+,Images+,Selector+
ReplicationController: Name,Desired:integer,Current:integer,Ready:integer,Age,Containers+,Images+,Selector+
ResourceClaim: Name,State,Age
ResourceClaimTemplate: Name,Age
ResourceQuota: Name,Request,Limit,Age
ResourceSlice: Name,Node,Driver,Pool,Age
Role: Name,Created At:date
RoleBinding: Name,Role,Age,Users+,Groups+,ServiceAccounts+
RuntimeClass: Name,Handler,Age
Secret: Name,Type,Data,Age
Service: Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector+
ServiceAccount: Name,Age
ServiceCIDR: Name,CIDRs,Age
StatefulSet: Name,Ready,Age,Containers+,Images+
StorageClass: Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age
StorageVersion: Name,CommonEncodingVersion,StorageVersions,Age
StorageVersionMigration: Name,Resource,Status
ValidatingAdmissionPolicy: Name,Validations:integer,ParamKind,Age
ValidatingAdmissionPolicyBinding: Name,PolicyName,ParamRef,Age
ValidatingWebhookConfiguration: Name,Webhooks:integer,Age
VolumeAttachment: Name,Attacher,PV,Node,Attached:boolean,Age
VolumeAttributesClass: Name,DriverName,Age
";

#[test]
fn every_kind_has_the_columns_of_the_stock_server() {
    let mut wrong = Vec::new();
    for line in STOCK.lines().filter(|l| !l.is_empty()) {
        let (kind, expected) = line.split_once(": ").unwrap();
        for row in all().iter().filter(|k| *k.kind == *kind) {
            let shown = |c: &ironclad_api::table::Column| {
                let kind = if c.kind == "string" { String::new() } else { format!(":{}", c.kind) };
                format!("{}{kind}{}", c.name, if c.priority == 1 { "+" } else { "" })
            };
            let found = row.strategy.columns().iter().map(shown).collect::<Vec<_>>().join(",");
            if found != expected {
                wrong.push(format!("{kind} {}: {found}", row.version));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
