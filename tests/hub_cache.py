"""The library `huggingface_hub` with an empty cache and a local server in place of the hub."""

import contextlib
import pathlib
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from tests.file_server import HubServer, serving


@contextlib.contextmanager
def local_hub(cache: pathlib.Path) -> Iterator[HubServer]:
    """A hub without repositories, as if HF_ENDPOINT and HF_HUB_CACHE were set."""
    server = HubServer()
    with serving(server), pytest.MonkeyPatch.context() as patch:
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr(constants, "ENDPOINT", server.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr("time.sleep", lambda seconds: None)
        yield server
