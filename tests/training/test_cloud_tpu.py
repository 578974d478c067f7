"""Cloud TPUs by name and by address, with a local server in place of Google Cloud."""

import re
import time

import pytest

from covid_lm.errors import InputError, RunError
from covid_lm.training.cloud_tpu import check_listening, tpu_addresses
from tests.training.google_cloud import (
    METADATA,
    PROJECT,
    ZONE,
    closed_port,
    google_cloud,
    node_path,
    silent_port,
    stand_in,
)

ELSEWHERE = "; outside Google Cloud give --tpu=grpc://HOST:PORT, on a TPU VM --tpu=local"
READY = {
    "state": "READY",
    "networkEndpoints": [{"ipAddress": "10.0.0.2", "port": 8470}, {"ipAddress": "10.0.0.3"}],
}


def addresses(tpu, zone=None, project=None, seconds=5.0):
    return tpu_addresses(tpu, zone, project, time.monotonic() + seconds)


@pytest.mark.parametrize(
    ("tpu", "expected"),
    [
        ("grpc://10.0.0.2:8471", ("10.0.0.2:8471",)),
        ("grpc://tpu-host", ("tpu-host:8470",)),
        ("grpc://a:1,grpc://b:2", ("a:1", "b:2")),
        ("grpc://a:1,b", ("a:1", "b:8470")),
    ],
)
def test_addresses_are_used_directly(tpu, expected):
    assert addresses(tpu) == expected


@pytest.mark.parametrize("tpu", ["grpc://", "grpc://a:b", "grpc://a:0", "grpc://a:99999"])
def test_invalid_addresses(tpu):
    with pytest.raises(InputError) as error:
        addresses(tpu)
    assert str(error.value) == f"--tpu={tpu}: not of the form grpc://HOST:PORT"


@pytest.mark.parametrize("tpu", ["", "My TPU", "a/../b", "-a"])
def test_invalid_names(tpu):
    with pytest.raises(InputError) as error:
        addresses(tpu)
    assert str(error.value) == (
        f"--tpu={tpu}: give the name of a Cloud TPU, `local` on a TPU VM, or grpc://HOST:PORT"
    )


def test_a_name_is_looked_up_in_the_zone_of_this_machine(monkeypatch):
    with google_cloud(monkeypatch, nodes={"node-1": READY}) as asked:
        assert addresses("node-1") == ("10.0.0.2:8470", "10.0.0.3:8470")
    assert asked[-1] == node_path(PROJECT, ZONE, "node-1")


def test_a_given_zone_and_project_are_not_requested(monkeypatch):
    with google_cloud(monkeypatch) as asked, pytest.raises(InputError) as error:
        addresses("node-1", zone="us-a", project="other")
    assert asked == [
        "/computeMetadata/v1/instance/service-accounts/default/token",
        node_path("other", "us-a", "node-1"),
    ]
    assert str(error.value) == (
        "--tpu=node-1: no such TPU in project other, zone us-a; "
        "`gcloud compute tpus tpu-vm list --zone=us-a` lists the existing ones"
    )


def test_a_metadata_server_that_refuses(monkeypatch):
    host = stand_in(monkeypatch, closed_port())
    with pytest.raises(RunError) as error:
        addresses("node-1")
    assert str(error.value) == (
        f"--tpu: no metadata server answers at {host} (connection failed){ELSEWHERE}"
    )


def test_a_metadata_server_that_does_not_answer(monkeypatch):
    with silent_port() as port:
        host = stand_in(monkeypatch, port)
        with pytest.raises(RunError) as error:
            addresses("node-1", seconds=0.3)
    assert str(error.value) == (
        f"--tpu: no metadata server answers at {host} (no answer){ELSEWHERE}"
    )


def test_a_server_without_http(monkeypatch):
    with silent_port(says=b"\x00\xff garbage\n\n") as port:
        host = stand_in(monkeypatch, port)
        with pytest.raises(RunError) as error:
            addresses("node-1")
    assert str(error.value) == (
        f"--tpu: no metadata server answers at {host} (connection failed){ELSEWHERE}"
    )


@pytest.mark.parametrize(
    ("absent", "remedy"),
    [
        ("project/project-id", "give --gcp_project"),
        ("instance/zone", "give --tpu_zone"),
        (
            "instance/service-accounts/default/token",
            "attach a service account to this machine",
        ),
    ],
)
def test_a_metadata_server_that_answers_404(monkeypatch, absent, remedy):
    metadata = {path: value for path, value in METADATA.items() if path != absent}
    with google_cloud(monkeypatch, metadata), pytest.raises(RunError) as error:
        addresses("node-1")
    pattern = rf"--tpu: the metadata server at 127\.0\.0\.1:\d+ answers 404 for {absent}; {remedy}"
    assert re.fullmatch(pattern, str(error.value))


@pytest.mark.parametrize(
    ("path", "garbage"),
    [
        ("project/project-id", "<html>\n<title>Log in to the hotel's network"),
        ("instance/zone", "?"),
        ("instance/service-accounts/default/token", "none"),
    ],
)
def test_a_metadata_server_that_answers_garbage(monkeypatch, path, garbage):
    with google_cloud(monkeypatch, {**METADATA, path: garbage}), pytest.raises(RunError) as error:
        addresses("node-1")
    assert re.fullmatch(
        r"--tpu: the server at 127\.0\.0\.1:\d+ is not Google Cloud's metadata server "
        rf"\({path} is {re.escape(repr(garbage[:40]))}\){ELSEWHERE}",
        str(error.value),
    )


def test_a_server_that_is_not_googles(monkeypatch):
    with google_cloud(monkeypatch, flavor="other"), pytest.raises(RunError, match="is not Google"):
        addresses("node-1")


def test_no_such_tpu(monkeypatch):
    with google_cloud(monkeypatch, nodes={"node-2": READY}), pytest.raises(InputError) as error:
        addresses("node-1")
    assert str(error.value).startswith(
        f"--tpu=node-1: no such TPU in project {PROJECT}, zone {ZONE}; "
    )


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"state": "CREATING"},
            "the TPU is CREATING, not READY; start it, or wait for it",
        ),
        ("[]", "invalid answer from http://127.0.0.1:PORT/" + ELSEWHERE),
        ("<html>", "invalid answer from http://127.0.0.1:PORT/" + ELSEWHERE),
        (
            {"state": "READY", "networkEndpoints": ["x"]},
            "invalid answer from http://127.0.0.1:PORT/" + ELSEWHERE,
        ),
    ],
)
def test_a_tpu_that_is_not_ready_or_not_described(monkeypatch, node, message):
    with google_cloud(monkeypatch, nodes={"node-1": node}), pytest.raises(RunError) as error:
        addresses("node-1")
    assert re.sub(r":\d+/", ":PORT/", str(error.value)) == f"--tpu=node-1: {message}"


def test_an_account_without_permission(monkeypatch):
    with google_cloud(monkeypatch, api_status=403), pytest.raises(RunError) as error:
        addresses("node-1")
    assert str(error.value) == (
        "--tpu=node-1: the TPU API answers 403; this machine's service account needs the role "
        "roles/tpu.viewer, and the project the TPU API"
    )


def test_an_address_at_which_nothing_listens():
    port = closed_port()
    with pytest.raises(RunError) as error:
        check_listening(f"127.0.0.1:{port}", time.monotonic() + 5)
    assert str(error.value) == (
        f"--tpu: nothing listens at grpc://127.0.0.1:{port} (Connection refused); check the "
        "address, that the TPU is running, and the firewall"
    )


def test_an_address_at_which_something_listens():
    with silent_port() as port:
        check_listening(f"127.0.0.1:{port}", time.monotonic() + 5)
