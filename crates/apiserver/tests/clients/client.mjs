// What Node's client does with a cluster: the life of objects, patches, lists, watches, errors.

import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const home = path.join(process.env.NODE_CLIENT, 'node_modules/@kubernetes/client-node');
const k8s = await import(pathToFileURL(path.join(home, 'dist/index.js')));

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = 'node';

async function expect(code, act) {
  try {
    await act();
  } catch (error) {
    assert.equal(error.code ?? error.statusCode, code, String(error));
    return error;
  }
  assert.fail(`no error, expected ${code}`);
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
const pod = { containers: [{ name: 'web', image: 'nginx' }] };
const template = { metadata: { labels: { app: 'web' } }, spec: pod };
const deployment = { metadata: { name: 'web' }, spec: { selector: { matchLabels: { app: 'web' } }, template } };
const made = await apps.createNamespacedDeployment({ namespace, body: deployment });
assert.ok(made.metadata.creationTimestamp instanceof Date);
assert.equal(made.spec.strategy.rollingUpdate.maxSurge, '25%');

made.spec.replicas = 3;
const replaced = await apps.replaceNamespacedDeployment({ name: 'web', namespace, body: made });
assert.equal(replaced.spec.replicas, 3);
await expect(409, () => apps.replaceNamespacedDeployment({ name: 'web', namespace, body: made }));

const json = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch);
const operations = [{ op: 'replace', path: '/spec/replicas', value: 4 }];
const patched = await apps.patchNamespacedDeployment({ name: 'web', namespace, body: operations }, json);
assert.equal(patched.spec.replicas, 4);
const strategic = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.StrategicMergePatch);
const image = { spec: { template: { spec: { containers: [{ name: 'web', image: 'nginx:2' }] } } } };
const again = await apps.patchNamespacedDeployment({ name: 'web', namespace, body: image }, strategic);
assert.equal(again.spec.template.spec.containers[0].image, 'nginx:2');

const merge = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch);
const merged = await apps.patchNamespacedDeployment({ name: 'web', namespace, body: { metadata: { labels: { a: 'b' } } } }, merge);
assert.equal(merged.metadata.labels.a, 'b');

const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { k: '1' } };
const applied = await objects.patch(configMap, undefined, undefined, 'node', false, k8s.PatchStrategy.ServerSideApply);
assert.equal(applied.metadata.managedFields[0].operation, 'Apply');
configMap.data.k = '2';
await expect(409, () => objects.patch(configMap, undefined, undefined, 'other', false, k8s.PatchStrategy.ServerSideApply));

const list = await core.listNamespacedConfigMap({ namespace });
assert.ok(list.items.some((m) => m.metadata.name === 'applied'));
const seen = [];
const watch = new k8s.Watch(config);
await new Promise((resolve, reject) => {
  const query = { resourceVersion: list.metadata.resourceVersion, timeoutSeconds: 20 };
  const event = (type, object) => {
    seen.push(`${type} ${object.metadata.name}`);
    if (type === 'DELETED') resolve();
  };
  watch.watch(`/api/v1/namespaces/${namespace}/configmaps`, query, event, (error) => error && reject(error)).then(async () => {
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'seen' } } });
    await core.deleteNamespacedConfigMap({ name: 'seen', namespace });
  }, reject);
});
assert.deepEqual(seen, ['ADDED seen', 'DELETED seen']);

const told = [];
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () => core.listNamespacedConfigMap({ namespace }));
const gone = new Promise((resolve, reject) => {
  for (const sort of ['add', 'update', 'delete']) {
    informer.on(sort, (object) => {
      if (object.metadata.name === 'told') told.push(sort);
      if (sort === 'delete') resolve();
    });
  }
  informer.on('error', reject);
});
await informer.start();
assert.ok(informer.get('applied', namespace));
const map = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'told' } } });
map.data = { k: 'v' };
await core.replaceNamespacedConfigMap({ name: 'told', namespace, body: map });
await core.deleteNamespacedConfigMap({ name: 'told', namespace });
await gone;
assert.deepEqual(told, ['add', 'update', 'delete']);
await informer.stop();

await expect(404, () => core.readNamespacedPod({ name: 'none', namespace }));
const invalid = await expect(422, () => core.createNamespacedService({ namespace, body: { metadata: { name: 'No' }, spec: {} } }));
assert.match(JSON.stringify(invalid.body), /Invalid/);
console.log("Node's client found what it expects");
process.exit(0);
