use super::*;
use ironclad_api::quota::usage;
use ironclad_json::json;

/// One quota, and the objects of one kind.
struct World {
    quota: Mutex<Value>,
    objects: Vec<Arc<Value>>,
}

impl Source for World {
    fn get(&self, _: &GroupResource, _: &str, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn list(&self, resource: &GroupResource, _: &str) -> Vec<Arc<Value>> {
        match resource.resource.as_str() {
            "resourcequotas" => vec![Arc::new(self.quota.lock().clone())],
            _ => self.objects.clone(),
        }
    }

    fn subscribe(&self, _: &GroupResource) -> ironclad_api::source::Changes {
        Box::pin(futures::stream::empty())
    }
}

#[async_trait]
impl Ledger for World {
    async fn find(&self, _: &GroupResource, _: &str, _: &str) -> Result<Option<Value>> {
        Ok(None)
    }

    async fn provide(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn read(&self, _: &str, _: &str) -> Result<Option<Value>> {
        Ok(Some(self.quota.lock().clone()))
    }

    async fn write(&self, quota: &Value) -> Result<bool> {
        // Others have time to be faster.
        tokio::task::yield_now().await;
        let mut own = self.quota.lock();
        let same = object::resource_version(&own) == object::resource_version(quota);
        if same {
            let next = version(&own) + 1;
            *own = quota.clone();
            own["metadata"]["resourceVersion"] = json!(next.to_string());
        }
        Ok(same)
    }
}

fn plugin(spec: Value, objects: Vec<Value>) -> (Arc<ResourceQuota>, Arc<World>) {
    let quota = json!({"metadata": {"name": "q", "uid": "u", "resourceVersion": "1"}, "spec": spec});
    let world = Arc::new(World { quota: Mutex::new(quota), objects: objects.into_iter().map(Arc::new).collect() });
    (Arc::new(ResourceQuota::new(world.clone(), world.clone(), None).unwrap()), world)
}

fn request(plural: &str, object: Value) -> Request {
    Request {
        operation: Operation::Create,
        kind: ironclad_api::GroupVersionKind::new("", "v1", "Thing"),
        resource: ironclad_api::GroupVersionResource::new("", "v1", plural),
        subresource: String::new(),
        namespace: "a".into(),
        name: object::name(&object).to_owned(),
        user: ironclad_api::UserInfo::default(),
        object: Some(object),
        old: None,
        options: Value::Null,
        dry_run: false,
        warnings: Vec::new(),
        annotations: crate::Annotations::default(),
        verb: String::new(),
        reinvocation: crate::Reinvocation::default(),
    }
}

fn pod(name: &str, cpu: &str) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
}

async fn ask(plugin: &ResourceQuota, mut request: Request) -> String {
    plugin.validate(&mut request).await.map_err(|e| e.message).err().unwrap_or_default()
}

#[tokio::test]
async fn quotas_refuse_in_the_stock_wording() {
    let hard = json!({"hard": {"requests.cpu": "1", "pods": "2"}});
    let bare = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c"}]}});
    let begin = "pods \"x\" is forbidden: ";
    let table = [
        (vec![pod("a", "700m")], pod("x", "300m"), ""),
        (
            vec![pod("a", "700m")],
            pod("x", "400m"),
            "exceeded quota: q, requested: requests.cpu=400m, used: requests.cpu=700m, limited: requests.cpu=1",
        ),
        (
            vec![pod("a", "100m"), pod("b", "100m")],
            pod("x", "100m"),
            "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
        ),
        (Vec::new(), bare, "failed quota: q: must specify requests.cpu for: c"),
    ];
    for (others, new, why) in table {
        let (plugin, _) = plugin(hard.clone(), others);
        let want = if why.is_empty() { String::new() } else { format!("{begin}{why}") };
        assert_eq!(ask(&plugin, request("pods", new)).await, want);
    }
}

#[tokio::test]
async fn devices_are_counted_by_their_class_at_most() {
    let hard =
        json!({"hard": {"gpu.deviceclass.resource.k8s.io/devices": "5", "count/resourceclaims.resource.k8s.io": "9"}});
    let claim = |requests: Value| {
        let mut request =
            request("resourceclaims", json!({"metadata": {"name": "x"}, "spec": {"devices": {"requests": requests}}}));
        request.resource.group = "resource.k8s.io".into();
        request
    };
    let exact = |count: u32| json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count});
    let all = json!({"deviceClassName": "gpu", "allocationMode": "All"});
    let table = [
        (json!([{"exactly": exact(2)}, {"exactly": exact(3)}]), ""),
        (json!([{"firstAvailable": [exact(5), exact(1)]}]), ""),
        (json!([{"firstAvailable": [exact(5)]}, {"exactly": exact(1)}]), "6"),
        (json!([{"exactly": all}]), "32"),
    ];
    for (requests, asked) in table {
        let (plugin, _) = plugin(hard.clone(), Vec::new());
        let name = "gpu.deviceclass.resource.k8s.io/devices";
        let want = format!(
            "resourceclaims.resource.k8s.io \"x\" is forbidden: exceeded quota: q, requested: {name}={asked}, used: {name}=0, limited: {name}=5"
        );
        assert_eq!(ask(&plugin, claim(requests)).await, if asked.is_empty() { String::new() } else { want });
    }
}

#[test]
fn claims_of_storage_count_in_the_scope_of_their_attributes() {
    let claims = GroupResource::new("", "persistentvolumeclaims");
    let quota = |operator: &str, values: Value| {
        json!({"spec": {"scopeSelector": {"matchExpressions": [
        {"scopeName": "VolumeAttributesClass", "operator": operator, "values": values}]}}})
    };
    let claim = |spec: &str, current: &str| {
        json!({"spec": {"volumeAttributesClassName": spec},
        "status": {"currentVolumeAttributesClassName": current}})
    };
    let table = [
        (quota("In", json!(["gold"])), claim("gold", ""), true),
        (quota("In", json!(["gold"])), claim("silver", "gold"), true),
        (quota("In", json!(["gold"])), claim("silver", ""), false),
        (quota("NotIn", json!(["gold"])), claim("", ""), true),
        (quota("Exists", json!([])), claim("", ""), false),
        (quota("DoesNotExist", json!([])), claim("", ""), true),
    ];
    for (quota, claim, want) in table {
        assert_eq!(in_scope(&quota, &claims, &claim), want, "{quota} {claim}");
    }
    let other = json!({"spec": {"scopes": ["BestEffort"]}});
    assert!(!in_scope(&other, &GroupResource::new("", "services"), &json!({})));
    let growing = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1500m"}}},
        "status": {"allocatedResources": {"storage": "3Gi"}}});
    let counted = usage(&claims, &growing);
    assert_eq!(counted["requests.storage"].to_string(), "3Gi");
    assert_eq!(counted["fast.storageclass.storage.k8s.io/requests.storage"].to_string(), "3Gi");
}

#[test]
fn only_some_doors_can_use_more() {
    let table = [
        ("", "pods", "", true, true),
        ("", "pods", "", false, false),
        ("", "pods", "resize", false, true),
        ("", "pods", "status", false, false),
        ("", "pods", "binding", true, false),
        ("", "services", "", false, true),
        ("", "persistentvolumeclaims", "status", false, true),
        ("", "configmaps", "", false, false),
        ("", "events", "", true, false),
        ("example.com", "widgets", "", true, true),
        ("resource.k8s.io", "resourceclaims", "", false, true),
        ("resource.k8s.io", "resourceclaims", "status", false, false),
    ];
    for (group, name, door, creates, want) in table {
        assert_eq!(is_counted(&GroupResource::new(group, name), door, creates), want, "{name}/{door}");
    }
}

#[tokio::test]
async fn what_is_limited_needs_a_quota() {
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration", "limitedResources": [
        {"resource": "pods", "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]},
        {"resource": "persistentvolumeclaims", "matchContains": ["gold.storageclass"]}]});
    let (_, world) = plugin(json!({"hard": {"configmaps": "1"}}), Vec::new());
    let limiting = ResourceQuota::new(world.clone(), world.clone(), Some(&config)).unwrap();
    let claim = |class: &str| {
        request("persistentvolumeclaims", json!({"metadata": {"name": "x"}, "spec": {"storageClassName": class}}))
    };
    assert_eq!(ask(&limiting, claim("iron")).await, "");
    let want = "persistentvolumeclaims \"x\" is forbidden: insufficient quota to consume: gold.storageclass.storage.k8s.io/persistentvolumeclaims";
    assert_eq!(ask(&limiting, claim("gold")).await, want);
    let mut high = pod("x", "1");
    assert_eq!(ask(&limiting, request("pods", high.clone())).await, "");
    high["spec"]["priorityClassName"] = json!("high");
    let want = "insufficient quota to match these scopes: [{PriorityClass In [high]}]";
    assert_eq!(ask(&limiting, request("pods", high.clone())).await, want);
    // A quota of that scope lets them in again.
    let own = json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}});
    let (_, world) = plugin(own, Vec::new());
    let limiting = ResourceQuota::new(world.clone(), world.clone(), Some(&config)).unwrap();
    assert_eq!(ask(&limiting, request("pods", high)).await, "");
    let wrong = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration", "limitedResources": [{}]});
    let refused = ResourceQuota::new(world.clone(), world, Some(&wrong)).err();
    assert_eq!(refused.as_deref(), Some("limitedResources[0].resource: Required value"));
}

#[tokio::test]
async fn what_is_granted_is_charged_to_the_status() {
    let (plugin, world) = plugin(json!({"hard": {"configmaps": "1", "count/configmaps": "5"}}), Vec::new());
    let map = |name: &str| request("configmaps", json!({"metadata": {"name": name}}));
    assert_eq!(ask(&plugin, Request { dry_run: true, ..map("one") }).await, "");
    assert!(world.quota.lock()["status"].is_null());
    assert_eq!(ask(&plugin, map("one")).await, "");
    assert_eq!(world.quota.lock()["status"]["used"], json!({"configmaps": "1", "count/configmaps": "1"}));
    let want = "configmaps \"two\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1";
    assert_eq!(ask(&plugin, map("two")).await, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_cannot_exceed_a_quota_together() {
    let (first, world) = plugin(json!({"hard": {"configmaps": "10"}}), Vec::new());
    // A second server over the same store.
    let second = Arc::new(ResourceQuota::new(world.clone(), world.clone(), None).unwrap());
    let tasks: Vec<_> = (0..60)
        .map(|i| {
            let plugin = if i % 2 == 0 { first.clone() } else { second.clone() };
            let request = request("configmaps", json!({"metadata": {"name": format!("m{i}")}}));
            tokio::spawn(async move { ask(&plugin, request).await.is_empty() })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += usize::from(task.await.unwrap());
    }
    assert!(granted <= 10, "{granted}");
    assert_eq!(world.quota.lock()["status"]["used"]["configmaps"], granted.to_string());
}

#[tokio::test]
async fn only_what_grows_is_charged_on_update() {
    let (plugin, world) = plugin(json!({"hard": {"services.nodeports": "2", "services": "5"}}), Vec::new());
    let service = |ports: usize| json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": vec![json!({"port": 80}); ports]}});
    let update = |old: usize, new: usize| Request {
        operation: Operation::Update,
        old: Some(Arc::new(service(old))),
        ..request("services", service(new))
    };
    assert_eq!(ask(&plugin, update(1, 2)).await, "");
    assert_eq!(world.quota.lock()["status"]["used"]["services.nodeports"], "2");
    assert_eq!(ask(&plugin, update(2, 1)).await, "");
    assert!(ask(&plugin, update(2, 3)).await.contains("exceeded quota: q, requested: services.nodeports=1"));
}

#[test]
fn ended_pods_and_other_scopes_do_not_count() {
    let pods = GroupResource::new("", "pods");
    let mut ended = pod("a", "1");
    ended["status"] = json!({"phase": "Succeeded"});
    assert_eq!(usage(&pods, &ended).get("pods"), None);
    let quota = json!({"spec": {"scopes": ["BestEffort"], "hard": {"pods": "0"}}});
    assert!(!in_scope(&quota, &pods, &pod("x", "1")));
    let priority = json!({"spec": {"scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}});
    let mut high = pod("h", "1");
    assert!(!in_scope(&priority, &pods, &high));
    high["spec"]["priorityClassName"] = json!("high");
    assert!(in_scope(&priority, &pods, &high));
}

/// A class of devices that pods ask for by another name, a pod, and what claims there are.
struct Devices(Vec<Value>);

impl Around for Devices {
    fn extended_resource(&self, class: &str) -> Option<String> {
        (class == "gpu").then(|| "example.com/gpu".to_owned())
    }

    fn pod(&self, _: &str, name: &str) -> Option<Value> {
        let limits = json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}});
        let spec = json!({"containers": [{"name": "c", "resources": limits}]});
        (name == "p").then(|| json!({"metadata": {"name": "p", "namespace": "a", "uid": "1"}, "spec": spec}))
    }

    fn claims(&self, _: &str) -> Vec<Value> {
        self.0.clone()
    }
}

#[test]
fn claims_of_devices_count_by_the_names_that_pods_ask_for_them_by() {
    let claims = GroupResource::new("resource.k8s.io", "resourceclaims");
    let claim = |name: &str, class: &str, owner: &str| {
        let mut claim = json!({
            "metadata": {"name": name, "namespace": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"devices": {"requests": [{"exactly": {"deviceClassName": class, "allocationMode": "ExactCount", "count": 3}}]}},
        });
        if !owner.is_empty() {
            claim["metadata"]["annotations"] = json!({"resource.kubernetes.io/extended-resource-claim": "true"});
            let owner = json!({"kind": "Pod", "apiVersion": "v1", "name": owner, "uid": "1", "controller": true});
            claim["metadata"]["ownerReferences"] = json!([owner]);
        }
        claim
    };
    let named = |claim: &Value, others: Vec<Value>| {
        let counted = usage_among(&claims, claim, &Devices(others));
        let of = |name: &str| counted.get(name).map(ToString::to_string);
        (of("requests.example.com/gpu"), of("requests.deviceclass.resource.kubernetes.io/gpu"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(named(&claim("x", "gpu", ""), Vec::new()), (some("3"), some("3")));
    assert_eq!(named(&claim("x", "other", ""), Vec::new()), (None, None), "nobody asks for them by another name");
    assert_eq!(named(&claim("x", "gpu", "p"), Vec::new()), (some("2"), some("3")), "the pod counts for one already");
    assert_eq!(named(&claim("x", "gpu", "gone"), Vec::new()), (some("3"), some("3")));
    let first = claim("a", "gpu", "p");
    assert_eq!(named(&claim("x", "gpu", "p"), vec![first]), (some("3"), some("3")), "it is not the pod's one claim");
}
