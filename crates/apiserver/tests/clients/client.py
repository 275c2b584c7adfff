"""What the Python client does with a cluster: every list that it knows, the life of objects, patches, watches, errors."""

import copy
import inspect
import json
import tempfile
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock import configmaplock

config.load_kube_config()
core, apps, custom = client.CoreV1Api(), client.AppsV1Api(), client.CustomObjectsApi()
NAMESPACE = "python"
POD = {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
SELECTOR = {"matchLabels": {"app": "web"}}

OBJECTS = [
    ("v1", "ConfigMap", {"data": {"k": "v"}}),
    ("v1", "Secret", {"stringData": {"k": "v"}}),
    ("v1", "Service", {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    ("v1", "Pod", {"spec": POD}),
    ("v1", "PodTemplate", {"template": TEMPLATE}),
    ("v1", "ReplicationController", {"spec": {"replicas": 0, "selector": {"app": "web"}, "template": TEMPLATE}}),
    ("v1", "LimitRange", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "4"}}]}}),
    ("v1", "ResourceQuota", {"spec": {"hard": {"configmaps": "1000"}}}),
    ("v1", "Endpoints", {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]}),
    ("v1", "PersistentVolumeClaim",
     {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ("apps/v1", "Deployment", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "DaemonSet", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "ReplicaSet", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "StatefulSet", {"spec": {"serviceName": "web", "selector": SELECTOR, "template": TEMPLATE}}),
    ("batch/v1", "Job", {"spec": {"template": {"spec": dict(POD, restartPolicy="Never")}}}),
    ("batch/v1", "CronJob", {"spec": {"schedule": "* * * * *", "jobTemplate": {
        "spec": {"template": {"spec": dict(POD, restartPolicy="Never")}}}}}),
    ("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": {"maxReplicas": 3, "scaleTargetRef": {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "deployment"}}}),
    ("policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": 1, "selector": SELECTOR}}),
    ("networking.k8s.io/v1", "NetworkPolicy", {"spec": {"podSelector": {}}}),
    ("networking.k8s.io/v1", "Ingress", {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
    ("rbac.authorization.k8s.io/v1", "Role", {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", {"subjects": [{"kind": "User", "name": "ann"}], "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"}}),
    ("coordination.k8s.io/v1", "Lease", {"spec": {"holderIdentity": "me"}}),
    ("discovery.k8s.io/v1", "EndpointSlice",
     {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 80}]}),
    ("v1", "Node", {}),
    ("v1", "PersistentVolume", {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                                         "hostPath": {"path": "/x"}}}),
    ("storage.k8s.io/v1", "StorageClass", {"provisioner": "example.com/x"}),
    ("storage.k8s.io/v1", "CSIDriver", {"spec": {}}),
    ("scheduling.k8s.io/v1", "PriorityClass", {"value": 5}),
    ("node.k8s.io/v1", "RuntimeClass", {"handler": "x"}),
    ("networking.k8s.io/v1", "IngressClass", {"spec": {"controller": "example.com/x"}}),
]


def expect(code, act):
    try:
        act()
    except ApiException as error:
        assert error.status == code, error
        return error
    raise AssertionError(f"no error, expected {code}")


def make(dyn):
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "default"}})
    for version, kind, rest in OBJECTS:
        resource = dyn.resources.get(api_version=version, kind=kind)
        body = dict({"apiVersion": version, "kind": kind, "metadata": {"name": kind.lower()}}, **copy.deepcopy(rest))
        made = resource.create(body=body, namespace=NAMESPACE if resource.namespaced else None)
        assert made.metadata.uid and made.metadata.resourceVersion, made


def read_every_list():
    """The client refuses answers in which a field is missing that the API always has."""
    lists, objects, unserved = 0, 0, []
    for name, api in inspect.getmembers(client, inspect.isclass):
        if not name.endswith("Api") or name in ("CustomObjectsApi", "WellKnownApi", "OpenidApi", "LogsApi", "VersionApi"):
            continue
        for method, call in inspect.getmembers(api(), inspect.ismethod):
            if not method.startswith("list_") or method.endswith("_with_http_info") or "namespaced" in method:
                continue
            try:
                found = call()
            except ApiException as error:
                assert error.status == 404, (name, method, error)
                unserved.append(f"{name}.{method}")
                continue
            lists, objects = lists + 1, objects + len(found.items)
            if "component_status" not in method:
                assert found.metadata.resource_version, (name, method)
    print(f"{lists} lists with {objects} objects read; of versions that are not served: {len(unserved)}")
    assert lists >= 45 and objects >= len(OBJECTS), (lists, objects)


def life():
    name, api = "deployment", apps
    found = api.read_namespaced_deployment(name, NAMESPACE)
    assert found.spec.strategy.type == "RollingUpdate" and found.spec.template.spec.containers[0].name == "web"
    found.spec.replicas = 3
    replaced = api.replace_namespaced_deployment(name, NAMESPACE, found)
    assert replaced.spec.replicas == 3 and replaced.metadata.generation == 2
    expect(409, lambda: api.replace_namespaced_deployment(name, NAMESPACE, found))
    image = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2"}]}}}}
    patched = api.patch_namespaced_deployment(name, NAMESPACE, image)
    assert [c.image for c in patched.spec.template.spec.containers] == ["nginx:2"]
    patched = api.patch_namespaced_deployment(
        name, NAMESPACE, [{"op": "test", "path": "/spec/replicas", "value": 3},
                          {"op": "replace", "path": "/spec/replicas", "value": 4}])
    assert patched.spec.replicas == 4
    scale = api.read_namespaced_deployment_scale(name, NAMESPACE)
    assert (scale.spec.replicas, scale.status.selector) == (4, "app=web")
    scale.spec.replicas = 1
    assert api.replace_namespaced_deployment_scale(name, NAMESPACE, scale).spec.replicas == 1
    status = {"status": {"replicas": 1, "conditions": [
        {"type": "Available", "status": "True", "reason": "x", "message": "y"}]}}
    assert api.patch_namespaced_deployment_status(name, NAMESPACE, status).status.conditions[0].status == "True"
    dry = api.patch_namespaced_deployment(name, NAMESPACE, {"spec": {"replicas": 9}}, dry_run="All")
    assert dry.spec.replicas == 9 and api.read_namespaced_deployment(name, NAMESPACE).spec.replicas == 1
    error = expect(422, lambda: core.create_namespaced_service(NAMESPACE, {"metadata": {"name": "No"}, "spec": {}}))
    assert '"reason":"Invalid"' in error.body, error.body
    expect(404, lambda: core.read_namespaced_pod("none", NAMESPACE))
    expect(409, lambda: core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "configmap"}}))
    gone = api.delete_namespaced_deployment(name, NAMESPACE, body=client.V1DeleteOptions(propagation_policy="Background"))
    assert gone.status == "Success", gone


def pages():
    for n in range(25):
        core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": f"page-{n:02}", "labels": {"page": "yes"}}})
    names, token, turns = [], None, 0
    while token != "":
        page = core.list_namespaced_config_map(NAMESPACE, limit=10, _continue=token, label_selector="page=yes")
        names += [m.metadata.name for m in page.items]
        token, turns = page.metadata._continue or "", turns + 1
    assert (len(names), turns) == (25, 3), (len(names), turns)
    gone = core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="page=yes")
    assert gone is not None
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="page=yes").items


def watching():
    version = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "seen"}, "data": {"n": "1"}})
    core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"n": "2"}})
    core.delete_namespaced_config_map("seen", NAMESPACE)
    events = []
    stream = watch.Watch()
    for event in stream.stream(core.list_namespaced_config_map, NAMESPACE, resource_version=version, timeout_seconds=10):
        events.append((event["type"], event["object"].metadata.name, (event["object"].data or {}).get("n")))
        if event["type"] == "DELETED":
            stream.stop()
    assert events == [("ADDED", "seen", "1"), ("MODIFIED", "seen", "2"), ("DELETED", "seen", "2")], events


def server_side(dyn):
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied", "namespace": NAMESPACE}, "data": {"k": "1"}}
    made = maps.server_side_apply(namespace=NAMESPACE, body=json.dumps(body), field_manager="python", name="applied")
    assert made.metadata.managedFields[0].operation == "Apply"
    body["data"]["k"] = "2"
    conflict = expect(409, lambda: maps.server_side_apply(namespace=NAMESPACE, body=json.dumps(body), field_manager="other", name="applied"))
    assert json.loads(conflict.body)["message"].endswith('conflict with "python": .data.k'), conflict.body
    forced = maps.server_side_apply(namespace=NAMESPACE, body=json.dumps(body), field_manager="other", force_conflicts=True, name="applied")
    assert forced.data.k == "2"


def custom_resources():
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    client.ApiextensionsV1Api().create_custom_resource_definition({
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
                 "names": {"plural": "widgets", "kind": "Widget", "singular": "widget"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}})
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
    for attempt in range(100):
        try:
            custom.create_namespaced_custom_object("example.com", "v1", NAMESPACE, "widgets", body)
            break
        except ApiException as error:
            assert error.status == 404 and attempt < 99, error
            time.sleep(0.05)
    found = custom.list_namespaced_custom_object("example.com", "v1", NAMESPACE, "widgets")
    assert [w["spec"]["size"] for w in found["items"]] == [3]
    changed = custom.patch_namespaced_custom_object("example.com", "v1", NAMESPACE, "widgets", "w", {"spec": {"size": 4}})
    assert changed["spec"]["size"] == 4


def from_yaml():
    text = """
apiVersion: v1
kind: Service
metadata: {name: from-yaml}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: from-list}, data: {k: 'yes'}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: from-list}, spec: {selector: {matchLabels: {a: b}},
    template: {metadata: {labels: {a: b}}, spec: {containers: [{name: web, image: nginx}]}}}}
"""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        utils.create_from_yaml(client.ApiClient(), file.name, namespace=NAMESPACE)
        try:
            utils.create_from_yaml(client.ApiClient(), file.name, namespace=NAMESPACE)
            raise AssertionError("it was created twice")
        except utils.FailToCreateError as error:
            assert {e.status for e in error.api_exceptions} == {409}, error
    assert core.read_namespaced_config_map("from-list", NAMESPACE).data == {"k": "yes"}


def following(dyn):
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    made = maps.create(body={"metadata": {"name": "followed"}}, namespace=NAMESPACE)

    def change():
        maps.patch(name="followed", namespace=NAMESPACE, body={"data": {"n": "1"}},
                   content_type="application/merge-patch+json")
        maps.delete(name="followed", namespace=NAMESPACE)

    changing = threading.Thread(target=change)
    changing.start()
    seen = []
    for event in maps.watch(namespace=NAMESPACE, field_selector="metadata.name=followed",
                            resource_version=made.metadata.resourceVersion, timeout=20):
        seen.append(event["type"])
        if event["type"] == "DELETED":
            break
    changing.join()
    assert seen == ["MODIFIED", "DELETED"], seen


def elect():
    """One leads; when it cannot renew any more the other one does."""
    led, cut_off = [], set()

    class Lock(configmaplock.ConfigMapLock):
        def update(self, *args):
            return self.identity not in cut_off and super().update(*args)

    def candidate(name):
        config = electionconfig.Config(Lock("elected", NAMESPACE, name), lease_duration=3, renew_deadline=2,
                                       retry_period=1, onstarted_leading=lambda: led.append(name),
                                       onstopped_leading=lambda: led.append(f"{name} stopped"))
        threading.Thread(target=leaderelection.LeaderElection(config).run, daemon=True).start()

    def until(expected):
        for _ in range(400):
            if led == expected:
                return
            time.sleep(0.05)
        raise AssertionError(led)

    candidate("one")
    until(["one"])
    candidate("two")
    cut_off.add("one")
    until(["one", "one stopped", "two"])


def main():
    assert client.VersionApi().get_code().git_version.startswith("v1.37")
    dyn = dynamic.DynamicClient(client.ApiClient())
    make(dyn)
    read_every_list()
    life()
    pages()
    watching()
    from_yaml()
    following(dyn)
    elect()
    if hasattr(dyn.resources.get(api_version="v1", kind="ConfigMap"), "server_side_apply"):
        server_side(dyn)
    custom_resources()
    print("the Python client found what it expects")


main()
