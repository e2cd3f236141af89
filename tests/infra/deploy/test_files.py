"""The files that start genvar elsewhere: well formed, in step with the code, and safe by default."""

import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

_ROOT = Path(__file__).parents[3]
_DEPLOY = _ROOT / "infra" / "deploy"
_YAML = sorted(path.relative_to(_DEPLOY).as_posix() for path in _DEPLOY.rglob("*.yaml"))
_SCRIPTS = ("infra/deploy/slurm/genvar.sbatch", "infra/environment/create_venv.sh")


def _load(name: str) -> Any:
    return yaml.safe_load((_DEPLOY / name).read_text())


def _clusters() -> Iterator[Any]:
    yield _load("kubernetes/cluster.yaml")["spec"]
    yield _load("kubernetes/job.yaml")["spec"]["rayClusterSpec"]


def _pods(spec: Any) -> list[Any]:
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


@pytest.mark.parametrize("name", _YAML)
def test_what_a_user_edits_is_marked(name: str) -> None:
    text = (_DEPLOY / name).read_text()
    assert list(yaml.safe_load_all(text))
    assert "EDIT" in text


def test_compose_keeps_to_the_loopback_and_to_env_for_its_passwords() -> None:
    content = _load("docker/compose.yaml")
    for name, service in content["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would be open to the network"
    text = (_DEPLOY / "docker/compose.yaml").read_text()
    for secret in re.findall(r"PASSWORD: (\S+)", text):
        assert secret.startswith("${")
    assert content["services"]["genvar"]["shm_size"] == "4gb"
    ignored = (_ROOT / ".gitignore").read_text().splitlines()
    assert "infra/deploy/docker/.env" in ignored


def test_every_variable_of_compose_is_in_the_example() -> None:
    text = (_DEPLOY / "docker/compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", text))
    offered = set(re.findall(r"^(\w+)=", (_DEPLOY / "docker/.env.example").read_text(), re.MULTILINE))
    assert wanted == offered


def test_what_the_image_copies_is_there_and_reaches_the_build() -> None:
    text = (_DEPLOY / "docker/Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]]
    allowed = (_DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert copied
    for name in copied:
        assert (_ROOT / name).exists(), name
        assert f"!{name}" in allowed or f"!{name}/" in allowed, name
    assert text.count("\nUSER ") == 2, "no image runs as root"


def test_kubernetes_runs_the_pinned_ray_with_a_token_and_shared_storage() -> None:
    for spec in _clusters():
        assert spec["rayVersion"] == ray.__version__
        assert spec["authOptions"] == {"mode": "token"}
        for pod in _pods(spec):
            [container] = pod["containers"]
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounts) == {"/runs", "/data", "/dev/shm"}
            assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
            assert pod["securityContext"]["runAsUser"] == 1000
            assert container["resources"]["requests"] == container["resources"]["limits"]
    one, other = _clusters()
    assert one == other, "the cluster that stays and the one of a job differ"


def test_the_job_names_settings_that_exist() -> None:
    from pipeline.command import Options, resolve

    words = _load("kubernetes/job.yaml")["spec"]["entrypoint"].split()
    overrides = tuple(word for word in words if "=" in word)
    assert overrides
    resolve(Options(dataset="msmt17", overrides=overrides), None)


def test_pods_fit_the_schemas_of_kubernetes() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate to check the schemas")
    pods = [pod for spec in _clusters() for pod in _pods(spec)]
    assert len(pods) == 6  # a head and two kinds of workers, in the cluster that stays and in that of a job
    for pod in pods:
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
        validate.validate(whole, "1.30", strict=True)
    for claim in yaml.safe_load_all((_DEPLOY / "kubernetes/storage.yaml").read_text()):
        validate.validate(claim, "1.30", strict=True)


def test_the_launcher_file_passes_rays_own_check() -> None:
    from jsonschema import ValidationError  # type: ignore[import-untyped]
    from ray.autoscaler._private.util import prepare_config, validate_config

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = prepare_config(_load("launcher/aws.yaml"))
        validate_config(config)  # raises what is wrong
        with pytest.raises(ValidationError, match="many"):
            validate_config({**config, "max_workers": "many"})


@pytest.mark.parametrize("name", _SCRIPTS)
def test_scripts_pass_bash_and_shellcheck(name: str) -> None:
    script = str(_ROOT / name)
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here; on Debian: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
