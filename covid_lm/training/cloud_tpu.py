"""From a Cloud TPU's name to the addresses it listens on, every question with a deadline.

The metadata server of a Google Cloud machine tells project, zone and an access token; the TPU API
tells the named node's addresses (https://cloud.google.com/compute/docs/metadata,
https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes). TensorFlow's own
resolver asks the same two, but waits for ever for a silent metadata server, and reaches the API by
packages that can't be installed beside TensorFlow 2.21 (`cloud-tpu-client` wants protobuf 3).

GCE_METADATA_HOST and CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU, Google's own variables, name other
servers. Tried against a local server that plays both; on Google Cloud itself it is untried.
"""

import http.client
import json
import os
import re
import socket
import time
import urllib.error
import urllib.request

from covid_lm.errors import InputError, RunError

DEFAULT_PORT = 8470
LONGEST_ANSWER = 1 << 20  # bytes
TOKEN_PATH = "instance/service-accounts/default/token"
ELSEWHERE = "off Google Cloud give --tpu=grpc://HOST:PORT, on a TPU VM --tpu=local"


def tpu_addresses(
    tpu: str, zone: str | None, project: str | None, deadline: float
) -> tuple[str, ...]:
    """The `host:port` of each worker of a TPU.

    Args:
        tpu: its name, or its addresses as `grpc://HOST[:PORT][,HOST[:PORT]...]`.
        zone, project: where a named TPU is; this machine's unless given.
        deadline: on the clock of `time.monotonic`, for all questions together.

    Raises:
        InputError: neither a name nor addresses, or no such TPU.
        RunError: a server refuses, stays silent or answers nonsense, or the TPU isn't ready.
    """
    if tpu.startswith("grpc://"):
        return tuple(_address(part) for part in tpu.split(","))
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", tpu):
        raise InputError(
            f"--tpu={tpu}: give the name of a Cloud TPU, `local` on a TPU VM, or grpc://HOST:PORT"
        )
    if project is None:
        project = _metadata("project/project-id", r"[a-z][a-z0-9.:-]*", "--gcp_project", deadline)
    if zone is None:
        pattern = r"projects/[^/\s]+/zones/[a-z0-9-]+"
        zone = _metadata("instance/zone", pattern, "--tpu_zone", deadline).split("/")[-1]
    token = _access_token(deadline)
    return _node_addresses(tpu, zone, project, token, deadline)


def check_listening(address: str, deadline: float) -> None:
    """Raises RunError unless something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_seconds_left(deadline)).close()
    except OSError as error:
        raise RunError(
            f"--tpu: nothing listens at grpc://{address} ({_reason(error)}); check the address, "
            "that the TPU is running, and the firewall between"
        ) from None


def _address(part: str) -> str:
    match = re.fullmatch(r"(?:grpc://)?([\w.-]+)(?::(\d{1,5}))?", part)
    if not match or not 0 < int(match[2] or DEFAULT_PORT) < 2**16:
        raise InputError(f"--tpu={part}: not of the form grpc://HOST:PORT")
    return f"{match[1]}:{match[2] or DEFAULT_PORT}"


def _metadata(path: str, pattern: str, flag: str | None, deadline: float) -> str:
    """What the metadata server tells under `path`; `flag` could be given in its stead."""
    host = os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_IP")
    host = host or "metadata.google.internal"
    instead = f"give {flag}" if flag else "attach a service account to this machine"
    try:
        # Never through a proxy: the answer is about this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        headers = {"Metadata-Flavor": "Google"}
        request = urllib.request.Request(f"http://{host}/computeMetadata/v1/{path}", None, headers)
        with opener.open(request, timeout=_seconds_left(deadline)) as response:
            by_google = response.headers.get("Metadata-Flavor") == "Google"
            answer = response.read(LONGEST_ANSWER).decode("utf-8", "replace").strip()
    except urllib.error.HTTPError as error:
        raise RunError(
            f"--tpu: the metadata server at {host} answers {error.code} for {path}; {instead}"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise RunError(
            f"--tpu: no metadata server answers at {host} ({_reason(error)}); {ELSEWHERE}"
        ) from None
    if not by_google or not re.fullmatch(pattern, answer):
        raise RunError(
            f"--tpu: what answers at {host} is not Google Cloud's metadata server "
            f"({path} is {answer[:40]!r}); {ELSEWHERE}"
        )
    return answer


def _access_token(deadline: float) -> str:
    answer = _metadata(TOKEN_PATH, r"(?s)\{.*\}", None, deadline)
    try:
        return json.loads(answer)["access_token"]
    except (ValueError, KeyError):
        raise RunError(f"--tpu: the metadata server gives no access token; {ELSEWHERE}") from None


def _node_addresses(
    name: str, zone: str, project: str, token: str, deadline: float
) -> tuple[str, ...]:
    api = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU", "https://tpu.googleapis.com/")
    url = f"{api.rstrip('/')}/v2/projects/{project}/locations/{zone}/nodes/{name}"
    request = urllib.request.Request(url, None, {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=_seconds_left(deadline)) as response:
            node = json.loads(response.read(LONGEST_ANSWER))
        state, endpoints = node["state"], node.get("networkEndpoints", [])
        addresses = tuple(
            _address(f"{endpoint['ipAddress']}:{endpoint.get('port', DEFAULT_PORT)}")
            for endpoint in endpoints
        )
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise InputError(
                f"--tpu={name}: no such TPU in project {project}, zone {zone}; "
                f"`gcloud compute tpus tpu-vm list --zone={zone}` lists those there are"
            ) from None
        raise RunError(
            f"--tpu={name}: the TPU API answers {error.code}; this machine's service account "
            "needs the role roles/tpu.viewer, and the project the TPU API"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise RunError(
            f"--tpu={name}: the TPU API can't be reached ({_reason(error)}); {ELSEWHERE}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"--tpu={name}: {api} answers nonsense; {ELSEWHERE}") from None
    if state != "READY" or not addresses:
        raise RunError(f"--tpu={name}: the TPU is {state}, not READY; start it, or wait for it")
    return addresses


def _seconds_left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.01)


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "it stays silent"
    if isinstance(cause, http.client.HTTPException):
        return "its answer is not HTTP"
    return getattr(cause, "strerror", None) or str(cause)
