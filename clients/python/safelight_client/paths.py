"""Paths of the API."""

from urllib.parse import quote


def path_of(collection: str, object_id: str) -> str:
    """The path of an object, such as `/v1/jobs/job_...`."""
    return f"/v1/{collection}/{quote(object_id, safe='')}"
