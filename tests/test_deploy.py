"""The manifests of deploy/ against the schema of KubeRay and Kubernetes, and against the project that they deploy."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import typer
import yaml

from rushes.cli import app
from rushes.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((ROOT / "tests" / "data" / "kuberay.schema.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted(path.name for path in DEPLOY.glob("*.yaml"))


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def manifest(name: str, kind: str) -> dict[str, Any]:
    (found,) = [m for m in manifests(name) if m["kind"] == kind]
    return found


def faults(doc: dict[str, Any]) -> list[str]:
    """What the schema of its kind finds wrong, each as "path: message"."""
    schema = {**SCHEMA, "$ref": f"#/$defs/{doc['kind']}"}
    errors = jsonschema.Draft202012Validator(schema).iter_errors(doc)
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in errors]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    open_ = [name for name, d in SCHEMA["$defs"].items() if d.get("type") == "object" and d["additionalProperties"] is not False]
    assert open_ == []


@pytest.mark.parametrize("name", FILES)
def test_manifests_are_of_the_schema(name: str) -> None:
    assert manifests(name)
    assert [fault for doc in manifests(name) for fault in faults(doc)] == []


SPEC, HEAD, WORKER = ("spec",), ("spec", "rayClusterSpec", "headGroupSpec"), ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
POD = (*WORKER, "template", "spec")
CONTAINER = (*POD, "containers", 0)
SLIPS = {
    "misspelt at the top": (SPEC, "backOffLimit", 5, "backOffLimit"),
    "misspelt in a group": (WORKER, "minReplica", 1, "minReplica"),
    "misspelt in a pod": (POD, "nodeSelectors", {"pool": "spot"}, "nodeSelectors"),
    "misspelt in a container": (CONTAINER, "volumeMount", [], "volumeMount"),
    "misspelt in a secret's reference": ((*CONTAINER, "env", 0, "valueFrom"), "secretkeyref", {}, "secretkeyref"),
    "a number where Ray wants text": ((*WORKER, "rayStartParams"), "num-cpus", 8, "8 is not of type 'string'"),
    "text where a number belongs": (SPEC, "ttlSecondsAfterFinished", "600", "'600' is not of type 'integer'"),
    "no quantity": ((*CONTAINER, "resources", "limits"), "memory", "36 GiB", "36 GiB"),
    "no such mode": (SPEC, "submissionMode", "k8s", "'k8s' is not one of"),
}


@pytest.mark.parametrize(("where", "key", "value", "says"), SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_is_found(where: tuple[str | int, ...], key: str, value: object, says: str) -> None:
    doc = json.loads(json.dumps(manifest("rayjob.yaml", "RayJob")))  # a copy in which nothing is shared, as YAML anchors are
    place: Any = doc
    for step in where:
        place = place[step]
    place[key] = value
    assert [says in fault for fault in faults(doc)] == [True]


@pytest.mark.parametrize(
    ("where", "key"), [(HEAD, "template"), (WORKER, "groupName"), ((*CONTAINER,), "name"), ((*CONTAINER, "volumeMounts", 0), "mountPath")]
)
def test_what_must_be_there_is_missed(where: tuple[str | int, ...], key: str) -> None:
    doc = json.loads(json.dumps(manifest("rayjob.yaml", "RayJob")))  # a copy in which nothing is shared, as YAML anchors are
    place: Any = doc
    for step in where:
        place = place[step]
    del place[key]
    assert [f"'{key}' is a required property" in fault for fault in faults(doc)] == [True]


def gib(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Ki": 2**-20, "Mi": 2**-10, "Gi": 1.0}[unit]


def test_the_job_runs_a_command_that_there_is() -> None:
    job = manifest("rayjob.yaml", "RayJob")
    program, verb, *words = shlex.split(job["spec"]["entrypoint"])
    assert (program, verb) == ("rushes", "run")
    command = typer.main.get_command(app)
    assert isinstance(command, click.Group | typer.core.TyperGroup)
    options = {name for param in command.commands[verb].params for name in param.opts}
    assert {word for word in words if word.startswith("--")} <= options
    recipe = words[words.index("--recipe") + 1]
    (text,) = manifest("rayjob.yaml", "ConfigMap")["data"].items()
    assert recipe == f"/etc/rushes/{text[0]}"


def test_the_recipe_is_a_recipe(tmp_path: Path) -> None:
    """Also with the captions that it shows as a comment."""
    text = manifest("rayjob.yaml", "ConfigMap")["data"]["recipe.toml"]
    (tmp_path / "plain.toml").write_text(text, encoding="utf-8")
    (tmp_path / "captions.toml").write_text(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert Recipe.load(tmp_path / "plain.toml").captions.engine == "facts"
    asked = Recipe.load(tmp_path / "captions.toml").captions
    service = manifest("vllm.yaml", "Service")
    served = [a for a in manifest("vllm.yaml", "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"] if "--model=" in a]
    assert served == [f"--model={asked.model}"]
    assert asked.base_url == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/v1"


def test_nodes_have_room_for_their_children() -> None:
    """Memory: each child up to its limit, Ray's 2 GiB, and shared memory, which a pod's limit counts."""
    cluster = manifest("rayjob.yaml", "RayJob")["spec"]["rayClusterSpec"]
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        limits = pod["containers"][0]["resources"]["limits"]
        (shm,) = [v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if v["name"] == "shm"]
        children = int(group["rayStartParams"]["num-cpus"])
        assert children <= int(limits["cpu"])
        assert children * Recipe().scan.memory_gib + 2 + gib(shm) <= gib(limits["memory"])
        assert int(group["rayStartParams"]["object-store-memory"]) < gib(shm) * 2**30
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_names_agree() -> None:
    """Volumes that are mounted exist, and the Service finds the Deployment's pods."""
    job = manifest("rayjob.yaml", "RayJob")["spec"]["rayClusterSpec"]
    pods = [job["headGroupSpec"]["template"]["spec"], *(g["template"]["spec"] for g in job["workerGroupSpecs"])]
    server = manifest("vllm.yaml", "Deployment")["spec"]
    for pod in [*pods, server["template"]["spec"]]:
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert {v["configMap"]["name"] for pod in pods for v in pod["volumes"] if "configMap" in v} == {
        manifest("rayjob.yaml", "ConfigMap")["metadata"]["name"]
    }
    assert manifest("vllm.yaml", "Service")["spec"]["selector"] == server["selector"]["matchLabels"]
    assert server["selector"]["matchLabels"] == server["template"]["metadata"]["labels"]


def test_one_version_of_everything() -> None:
    """Rushes and Ray: pyproject, the image, and the manifests name the same."""
    (ray,) = PROJECT["optional-dependencies"]["ray"]
    pinned = re.search(r"==([\d.]+)", ray)
    assert pinned
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"ray\[default\]==([\d.]+)", text)) == {pinned[1]}
    assert set(re.findall(r"rushes-([\d.]+)-py3", text)) == {PROJECT["version"]}
    asked = {extra for found in re.findall(r"\.whl\[([\w,]+)\]", text) for extra in found.split(",")}
    assert asked <= set(PROJECT["optional-dependencies"])
    cluster = manifest("rayjob.yaml", "RayJob")["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned[1]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert {c["image"].rpartition(":")[2] for g in groups for c in g["template"]["spec"]["containers"]} == {PROJECT["version"]}
