"""Checks examples/kubernetes.yaml: it parses, and what refers to something within it finds it."""
import sys

import yaml

with open(sys.argv[1]) as file:
    objects = list(yaml.safe_load_all(file))
by_kind = {(each["kind"], each["metadata"]["name"]): each for each in objects}
assert len(by_kind) == len(objects), "two objects share a name"
assert all("apiVersion" in each for each in objects)

pods = {name: by_kind[kind, name]["spec"]["template"]
        for kind, name in [("Job", "troupe-head"), ("StatefulSet", "troupe-node")]}
for name, pod in pods.items():
    service = by_kind["Service", name]["spec"]
    assert service["selector"] == pod["metadata"]["labels"], name
    spec = pod["spec"]
    assert spec["terminationGracePeriodSeconds"] == 30, name
    (container,) = spec["containers"]
    assert "lifecycle" not in container, name
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}, name
    (folder,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secret"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment == {"TROUPE_SECRET_FILE": f"{folder}/secret", "TROUPE_TLS": folder}, name
    (port,) = [each["containerPort"] for each in container["ports"]]
    assert port == service["ports"][0]["port"], name
    ready = ["--ready"] if name == "troupe-node" else []  # tests/end_to_end/clean.cpp calls them
    for probe, flags in [("readinessProbe", ready), ("livenessProbe", [])]:
        assert container[probe]["exec"]["command"] == ["troupe", "status", *flags, f"127.0.0.1:{port}"], (name, probe)
    assert f"--listen 0.0.0.0:{port}" in " ".join(container["command"] + container.get("args", [])), name

nodes = by_kind["StatefulSet", "troupe-node"]["spec"]
assert nodes["selector"]["matchLabels"] == pods["troupe-node"]["metadata"]["labels"]
assert nodes["serviceName"] == "troupe-node"
head_port = by_kind["Service", "troupe-head"]["spec"]["ports"][0]["port"]
assert f"troupe-head:{head_port}" in pods["troupe-node"]["spec"]["containers"][0]["command"]
