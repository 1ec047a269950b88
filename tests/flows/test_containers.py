"""What is under deploy/ is held to what reads it: hadolint, Prefect's workers and server, the models of Kubernetes."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import kubernetes_asyncio.client as models
import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseWorker
from prefect_docker.worker import DockerWorker
from prefect_kubernetes.worker import KubernetesWorker

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FOLDER = "/srv/physicnet"
GIVEN: dict[str, Any] = {
    "name": "brave-fox",
    "command": "prefect flow-run execute",
    "env": {"A": "b"},
    "labels": {"c": "d"},
}
WORKERS: dict[str, type[BaseWorker[Any, Any, Any]]] = {"docker": DockerWorker, "kubernetes": KubernetesWorker}
each_kind = pytest.mark.parametrize("kind", WORKERS)


def template(kind: str) -> dict[str, Any]:
    return json.loads((DEPLOY / f"{kind}.json").read_text())


def configured(kind: str, **values: object) -> Any:
    """The job that a worker of this kind would start."""
    job = WORKERS[kind].job_configuration
    return asyncio.run(job.from_template_and_values(template(kind), GIVEN | values))


def unknown(content: object, kind: str, where: str) -> list[str]:
    """What a model of Kubernetes does not know, or holds to be of another type, by its place."""
    if kind.startswith("list["):
        assert isinstance(content, list), where
        return [each for item in content for each in unknown(item, kind[5:-1], f"{where}[]")]
    if kind.startswith("dict("):
        return [] if isinstance(content, dict) and all(isinstance(each, str) for each in content.values()) else [where]
    if kind in ("str", "int", "bool"):
        return [] if type(content).__name__ == kind else [where]
    assert isinstance(content, dict), where
    model = getattr(models, kind)
    fields = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    return [
        each
        for key, value in content.items()
        for each in (unknown(value, fields[key], f"{where}.{key}") if key in fields else [f"{where}.{key}"])
    ]


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_but_what_pip_reads_gets_into_the_image_and_nobody_is_root() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
    admitted = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [words.split() for words in copied] == [[*admitted, "./"]]
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == ["1000"]


def test_the_folder_is_one_in_all_files() -> None:
    folders = set(re.findall(r"^ARG FOLDER=(.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    folders |= {template(kind)["variables"]["properties"]["folder"]["default"] for kind in WORKERS}
    folders |= set(re.findall(r"(?:mountPath|workingDir): (.+)", (DEPLOY / "kubernetes.yaml").read_text()))
    assert folders == {FOLDER}


@each_kind
def test_a_template_has_nothing_that_its_worker_would_not_read(kind: str) -> None:
    assert set(template(kind)["job_configuration"]) <= set(WORKERS[kind].job_configuration.model_fields)


@each_kind
@pytest.mark.usefixtures("_server")
def test_the_server_takes_the_template(kind: str) -> None:
    with get_client(sync_client=True) as client:
        pool = client.create_work_pool(WorkPoolCreate(name=f"in-{kind}", type=kind, base_job_template=template(kind)))
        assert pool.base_job_template == template(kind)


@pytest.mark.usefixtures("_server")
def test_a_container_of_docker_has_the_folder_where_the_host_has_it() -> None:
    job = configured("docker", folder="/srv/radar", user="1234:1234")
    assert job.image == "physicnet"
    assert job.volumes == ["/srv/radar:/srv/radar"]
    assert job.container_create_kwargs == {"pid_mode": "host", "user": "1234:1234", "healthcheck": {"test": ["NONE"]}}
    assert (job.env["A"], job.labels["c"], job.mem_limit, job.privileged) == ("b", "d", "8g", False)


@pytest.mark.usefixtures("_server")
def test_a_job_of_kubernetes_is_one_that_kubernetes_knows() -> None:
    job = configured("kubernetes", claim="radar", memory="16Gi")
    job.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="fox"))
    manifest = job.job_manifest
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["volumes"] == [{"name": "project", "persistentVolumeClaim": {"claimName": "radar"}}]
    assert container["volumeMounts"] == [{"name": "project", "mountPath": FOLDER}]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "16Gi"}, "limits": {"memory": "16Gi"}}
    assert container["args"] == GIVEN["command"].split()
    assert {"name": "A", "value": "b"} in container["env"]
    # Prefect asks for these two in the pod, where Kubernetes drops them.
    assert (pod.pop("parallelism"), pod.pop("completions")) == (1, 1)
    assert unknown(manifest, "V1Job", "job") == []
    pod["hostPids"] = True
    assert unknown(manifest, "V1Job", "job") == ["job.spec.template.spec.hostPids"]


def test_the_volume_and_the_pod_beside_it_are_ones_that_kubernetes_knows() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    assert [each["kind"] for each in documents] == ["PersistentVolumeClaim", "Pod"]
    assert [found for each in documents for found in unknown(each, f"V1{each['kind']}", each["kind"])] == []


def test_the_deployments_are_what_prefect_knows_of_them() -> None:
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert len(PrefectYamlModel.model_validate(content).deployments) == len(content["deployments"])
    for deployment in content["deployments"]:
        assert set(deployment) <= set(DeploymentConfig.model_fields)
        assert (ROOT / deployment["entrypoint"].partition(":")[0]).is_file()
