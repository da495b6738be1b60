"""Dagster's chart itself with the values, where it is at hand: `helm pull dagster/dagster --version 1.13.27`, then
DAGSTER_CHART=dagster-1.13.27.tgz. It is in no package registry, so that elsewhere these tests are skipped.
"""

import os
import shutil
import subprocess

import pytest
import yaml

from tests.deploy.manifests import KUBERNETES, OVERLAYS, Document, chart_documents, helm_values
from tests.deploy.policies import containers, containers_are_confined, images_are_pinned, pods
from tests.deploy.validation import misfits

CHART = os.environ.get("DAGSTER_CHART")
HELM = shutil.which("helm")
pytestmark = pytest.mark.skipif(not CHART or not HELM, reason="DAGSTER_CHART names no chart, or there is no helm")


def helm(*arguments: str, overlay: str) -> str:
    """What helm prints about the chart with an environment's values."""
    assert HELM is not None
    files = (KUBERNETES / "dagster-values.yaml", KUBERNETES / "overlays" / overlay / "dagster-values.yaml")
    command = [HELM, *arguments, str(CHART), *(f"--values={file}" for file in files)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_takes_the_values(overlay: str) -> None:
    helm("lint", "--strict", overlay=overlay)
    made: list[Document] = list(filter(None, yaml.safe_load_all(helm("template", "dagster", overlay=overlay))))
    assert [fault for document in made for fault in misfits(document)] == []
    assert [*images_are_pinned(made), *containers_are_confined(made)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_its_pods_get_what_is_checked_elsewhere(overlay: str) -> None:
    made = list(filter(None, yaml.safe_load_all(helm("template", "dagster", overlay=overlay))))
    expected = list(pods(chart_documents(helm_values(overlay))))
    assert len(list(pods(made))) == len(expected)
    for _, template in expected:
        (container,) = containers(template)
        assert any(
            made_one["image"] == container["image"]
            and made_one["resources"] == container["resources"]
            and all(source in made_one["envFrom"] for source in container["envFrom"])
            for _, made_template in pods(made)
            for made_one in made_template["spec"]["containers"]
        ), container
