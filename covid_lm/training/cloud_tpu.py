"""Addresses of a Cloud TPU from its name, with one deadline for all requests.

A Google Cloud machine's metadata server gives project, zone and an access token, the TPU API the
node's addresses (https://cloud.google.com/compute/docs/metadata,
https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes). TensorFlow's own
resolver does the same, but waits without limit for a silent metadata server, and needs packages
that can't be installed with TensorFlow 2.21 (`cloud-tpu-client` requires protobuf 3).

GCE_METADATA_HOST and CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU, Google's own variables, name other
servers. Tested against a local server in place of both, not on Google Cloud.
"""

import os
import re
import socket
import time

import requests

from covid_lm.errors import InputError, RunError

DEFAULT_PORT = 8470
TOKEN_PATH = "instance/service-accounts/default/token"
METADATA = {  # path: pattern of the metadata server's answer, with the value as its group
    "project/project-id": r"([a-z][a-z0-9.:-]*)",
    "instance/zone": r"projects/[^/\s]+/zones/([a-z0-9-]+)",
    TOKEN_PATH: r'(?s)\{.*"access_token"\s*:\s*"([^"]*)".*\}',
}
ELSEWHERE = "outside Google Cloud give --tpu=grpc://HOST:PORT, on a TPU VM --tpu=local"


def tpu_addresses(
    tpu: str, zone: str | None, project: str | None, deadline: float
) -> tuple[str, ...]:
    """The `host:port` of each worker of a TPU.

    Args:
        tpu: its name, or its addresses as `grpc://HOST[:PORT][,HOST[:PORT]...]`.
        zone, project: of a named TPU; this machine's unless given.
        deadline: by the clock of `time.monotonic`, for all requests together.

    Raises:
        InputError: neither a name nor addresses, or no such TPU.
        RunError: a server refuses, doesn't answer or answers nonsense, or the TPU isn't ready.
    """
    if tpu.startswith("grpc://"):
        return tuple(_address(part) for part in tpu.split(","))
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", tpu):
        raise InputError(
            f"--tpu={tpu}: give the name of a Cloud TPU, `local` on a TPU VM, or grpc://HOST:PORT"
        )
    project = project or _metadata("project/project-id", "give --gcp_project", deadline)
    zone = zone or _metadata("instance/zone", "give --tpu_zone", deadline)
    token = _metadata(TOKEN_PATH, "attach a service account to this machine", deadline)
    return _node_addresses(tpu, zone, project, token, deadline)


def check_listening(address: str, deadline: float) -> None:
    """Raises RunError unless something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_seconds_left(deadline)).close()
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or error
        raise RunError(
            f"--tpu: nothing listens at grpc://{address} ({reason}); check the address, that the "
            "TPU is running, and the firewall"
        ) from None


def _address(part: str) -> str:
    match = re.fullmatch(r"(?:grpc://)?([\w.-]+)(?::(\d{1,5}))?", part)
    if not match or not 0 < int(match[2] or DEFAULT_PORT) < 2**16:
        raise InputError(f"--tpu={part}: not of the form grpc://HOST:PORT")
    return f"{match[1]}:{match[2] or DEFAULT_PORT}"


def _metadata(path: str, remedy: str, deadline: float) -> str:
    """The metadata server's value at `path`, a key of `METADATA`."""
    host = os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_IP")
    host = host or "metadata.google.internal"
    url, flavor = f"http://{host}/computeMetadata/v1/{path}", {"Metadata-Flavor": "Google"}
    failure = f"--tpu: no metadata server answers at {host}"
    # Without a proxy, since the answer is about this machine.
    response = _get(url, flavor, deadline, failure, use_proxy=False)
    if response.status_code != requests.codes.ok:
        raise RunError(
            f"--tpu: the metadata server at {host} answers {response.status_code} for {path}; "
            f"{remedy}"
        )
    answer = response.content.decode("utf-8", "replace").strip()
    match = re.fullmatch(METADATA[path], answer)
    if response.headers.get("Metadata-Flavor") != "Google" or not match:
        raise RunError(
            f"--tpu: the server at {host} is not Google Cloud's metadata server "
            f"({path} is {answer[:40]!r}); {ELSEWHERE}"
        )
    return match[1]


def _node_addresses(
    name: str, zone: str, project: str, token: str, deadline: float
) -> tuple[str, ...]:
    api = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU", "https://tpu.googleapis.com/")
    url = f"{api.rstrip('/')}/v2/projects/{project}/locations/{zone}/nodes/{name}"
    failure = f"--tpu={name}: the TPU API can't be reached"
    response = _get(url, {"Authorization": f"Bearer {token}"}, deadline, failure)
    if response.status_code == requests.codes.not_found:
        raise InputError(
            f"--tpu={name}: no such TPU in project {project}, zone {zone}; "
            f"`gcloud compute tpus tpu-vm list --zone={zone}` lists the existing ones"
        )
    if response.status_code != requests.codes.ok:
        raise RunError(
            f"--tpu={name}: the TPU API answers {response.status_code}; this machine's service "
            "account needs the role roles/tpu.viewer, and the project the TPU API"
        )
    try:
        node = response.json()
        state = node["state"]
        addresses = tuple(
            _address(f"{endpoint['ipAddress']}:{endpoint.get('port', DEFAULT_PORT)}")
            for endpoint in node.get("networkEndpoints", [])
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"--tpu={name}: invalid answer from {api}; {ELSEWHERE}") from None
    if state != "READY" or not addresses:
        raise RunError(f"--tpu={name}: the TPU is {state}, not READY; start it, or wait for it")
    return addresses


def _get(
    url: str, headers: dict, deadline: float, failure: str, use_proxy: bool = True
) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = use_proxy
        try:
            return session.get(url, headers=headers, timeout=_seconds_left(deadline))
        except requests.RequestException as error:
            reason = "no answer" if isinstance(error, requests.Timeout) else "connection failed"
            raise RunError(f"{failure} ({reason}); {ELSEWHERE}") from None


def _seconds_left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.01)
