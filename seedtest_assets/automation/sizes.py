"""What the pod of a run may take on Kubernetes, as tags of its job; on one machine nobody reads them.

A run is one pod, because its steps run in one process. A job without such a tag has what every run has by
deploy/kubernetes/dagster-values.yaml; docs/deploy.md has the measurements behind the numbers.
"""

from typing import Any


def _pod(requests: tuple[str, str], limits: tuple[str, str]) -> dict[str, Any]:
    """Tags with the processors and the memory that a pod asks for, and that it may have at most."""
    resources = {
        name: {"cpu": processors, "memory": memory}
        for name, (processors, memory) in (("requests", requests), ("limits", limits))
    }
    return {"dagster-k8s/config": {"container_config": {"resources": resources}}}


ONE_PAGE_AT_A_TIME = _pod(("100m", "512Mi"), ("1", "1Gi"))
"""One query, or one page of rows."""
MODELS_OF_WEEKS = _pod(("2", "2Gi"), ("4", "6Gi"))
"""PyMC samples four chains at a time; and what the metrics of a week need."""
REPORTS = _pod(("1", "1536Mi"), ("2", "2Gi"))
"""Two processes that render (REPORT_WORKERS), half a gigabyte each."""
