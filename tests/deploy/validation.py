"""Every document against its schema: Kubernetes' own, strictly, and those of the kinds that are not Kubernetes'."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate

from tests.deploy.manifests import Document

OLDEST, NEWEST = "1.30", "1.36"
"""Between these the manifests are good; docs/deploy.md says so too."""
SCHEMAS = Path(__file__).parent / "schemas"
EXTERNAL_SECRETS = "external-secrets.io/v1"


def misfits(document: Document, version: str = NEWEST) -> list[str]:
    """What of a document its schema does not allow, in a version of Kubernetes. An unknown kind is a misfit too."""
    subject = f"{document['kind']} {document['metadata']['name']}"
    if document["apiVersion"] == EXTERNAL_SECRETS:
        return [f"{subject}: {fault}" for fault in faults("external-secrets.json", document)]
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{subject}: {'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{subject}: {error.message}"]
    return []


def faults(schema: str, document: Document) -> list[str]:
    """What of a document one of the schemas in schemas/ does not allow."""
    found = _validator(schema).iter_errors(document)
    return [f"{'.'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in found]


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / schema).read_text()))
