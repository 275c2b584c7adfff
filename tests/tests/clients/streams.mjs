// Streams into a pod with Node's client.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { pathToFileURL } from 'node:url';

const home = path.join(process.env.NODE_CLIENT, 'node_modules/@kubernetes/client-node');
const k8s = await import(pathToFileURL(path.join(home, 'dist/index.js')));
const config = new k8s.KubeConfig();
config.loadFromDefault();
const [namespace, pod] = [process.env.NAMESPACE, 'web'];

function sink() {
  const stream = new PassThrough();
  stream.text = '';
  stream.on('data', (piece) => (stream.text += piece));
  return stream;
}

const until = async (done) => {
  for (let n = 0; n < 200 && !done(); n++) await new Promise((next) => setTimeout(next, 50));
  assert.ok(done(), 'it never came');
};

const [out, err, input] = [sink(), sink(), new PassThrough()];
const status = new Promise((resolve, reject) => {
  const command = ['sh', '-c', 'read x; echo read $x; echo no >&2; exit 4'];
  new k8s.Exec(config).exec(namespace, pod, 'talker', command, out, err, input, false, resolve).catch(reject);
});
input.write('line\n');
const ended = await status;
assert.equal(ended.status, 'Failure');
assert.equal(ended.details.causes.find((cause) => cause.reason === 'ExitCode').message, '4');
await until(() => out.text === 'read line\n' && err.text === 'no\n');

const [said, typed] = [sink(), new PassThrough()];
const attached = await new k8s.Attach(config).attach(namespace, pod, 'talker', said, null, typed, false);
typed.write('node\n');
await until(() => said.text.includes('got node\n'));
attached.close();

const log = sink();
const following = await new k8s.Log(config).log(namespace, pod, 'talker', log, { follow: true });
await until(() => log.text.startsWith('hello\n') && log.text.includes('got node\n'));
following.abort();

// This version packs with gzip what it unpacks without.
const exec = new k8s.Exec(config);
const plain = { exec: (ns, name, container, command, ...rest) => exec.exec(ns, name, container, command.map((a) => (a === 'zcf' ? 'cf' : a)), ...rest) };
const copy = new k8s.Cp(config, plain);
const [there, back] = ['there', 'back'].map((name) => fs.mkdtempSync(path.join(os.tmpdir(), `ironclad-${name}-`)));
// At the end only: the client goes on with modes and owners when all bytes are there.
process.on('exit', () => [there, back].forEach((place) => fs.rmSync(place, { recursive: true })));
fs.writeFileSync(path.join(there, 'large'), 'x'.repeat(3000000));
await copy.cpToPod(namespace, pod, 'talker', there, '/tmp');
const size = async () => {
  const told = sink();
  await new Promise((done) => exec.exec(namespace, pod, 'talker', ['sh', '-c', 'wc -c < /tmp/large; sleep 0.1'], told, told, null, false, done));
  return told.text.trim();
};
for (let n = 0; n < 100 && (await size()) !== '3000000'; n++);
await copy.cpFromPod(namespace, pod, 'talker', 'tmp/large', back);
const copied = path.join(back, 'tmp/large');
await until(() => fs.existsSync(copied) && fs.statSync(copied).size === 3000000);

const forward = new k8s.PortForward(config);
const server = net.createServer((socket) => forward.portForward(namespace, pod, [80], socket, null, socket));
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const answer = await new Promise((resolve, reject) => {
  const socket = net.connect(server.address().port, '127.0.0.1');
  let text = '';
  socket.on('data', (piece) => {
    text += piece;
    if (text.includes('Welcome to nginx')) resolve(text);
  });
  socket.on('error', reject);
  socket.write('GET / HTTP/1.0\r\n\r\n');
});
assert.match(answer, /^HTTP\/1.1 200/);
console.log("Node's client streams into pods");
process.exit(0);
