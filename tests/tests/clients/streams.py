"""Streams into a pod with the Python client."""

import os

from kubernetes import client, config, watch
from kubernetes.stream import portforward, stream

config.load_kube_config()
core = client.CoreV1Api()
NAMESPACE, POD = os.environ["NAMESPACE"], "web"


def execute():
    said = stream(core.connect_get_namespaced_pod_exec, POD, NAMESPACE, container="talker",
                  command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True, stdin=False, tty=False)
    assert sorted(said.split()) == ["err", "out"], said
    session = stream(core.connect_get_namespaced_pod_exec, POD, NAMESPACE, container="talker",
                     command=["sh", "-c", "read x; echo read $x; exit 3"], stdout=True, stderr=True, stdin=True,
                     tty=False, _preload_content=False)
    session.write_stdin("line\n")
    out = ""
    while session.is_open():
        session.update(timeout=10)
        out += session.read_stdout() if session.peek_stdout() else ""
    assert (out, session.returncode) == ("read line\n", 3), (out, session.returncode)
    large = stream(core.connect_get_namespaced_pod_exec, POD, NAMESPACE, container="talker",
                   command=["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], stdout=True, stderr=True,
                   stdin=False, tty=False)
    assert len(large) == 3000000, len(large)


def attach():
    session = stream(core.connect_get_namespaced_pod_attach, POD, NAMESPACE, container="talker", stdin=True, stdout=True,
                     stderr=True, tty=False, _preload_content=False)
    session.write_stdin("python\n")
    said = session.readline_stdout(timeout=10)
    assert said == "got python", said
    session.close()


def logs():
    text = core.read_namespaced_pod_log(POD, NAMESPACE, container="talker")
    assert text.startswith("hello\n"), text
    assert core.read_namespaced_pod_log(POD, NAMESPACE, container="talker", tail_lines=1).count("\n") == 1
    follow = watch.Watch()
    for line in follow.stream(core.read_namespaced_pod_log, POD, NAMESPACE, container="talker"):
        if line == "got python":
            follow.stop()
            break


def forward():
    ports = portforward(core.connect_get_namespaced_pod_portforward, POD, NAMESPACE, ports="80,1")
    web = ports.socket(80)
    web.setblocking(True)
    web.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := web.recv(4096):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert ports.error(80) is None, ports.error(80)
    closed = ports.socket(1)
    closed.setblocking(True)
    assert closed.recv(10) == b""
    assert ports.error(1), "nobody listens there"


execute()
attach()
logs()
forward()
print("the Python client streams into pods")
