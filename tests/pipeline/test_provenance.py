import re

from pipeline.fingerprint import git_commit, package_versions


def test_versions_of_what_results_depend_on() -> None:
    versions = package_versions()
    assert {"python", "genvar", "torch", "ray", "mlflow", "numpy"} <= set(versions)
    assert all(versions.values())


def test_the_commit_of_a_checkout() -> None:
    commit = git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)
