"""Download of published data sets; a file appears when it is complete and has its digest.

COVID_LM_MIRROR in the environment is the address of a folder with the same files, which replaces
the public ones. Imports `requests` only when there is something to download.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import tqdm

from covid_lm.data.cifar_files import LAYOUTS, PUBLISHED, find_source
from covid_lm.data.folder_lock import locked_folder
from covid_lm.errors import InputError, RunError, innermost, reason
from covid_lm.files import (
    FILE_BYTES,
    atomic_write,
    check_file,
    files_below,
    is_remote,
    make_directories,
    remove_tree,
)

if TYPE_CHECKING:
    import requests

ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE = 5, 1.0, 30.0  # pauses in seconds, doubled each time
_SECONDS = 10.0, 60.0  # until there is a connection, and until the next bytes
_CHUNK_BYTES = 2**18
CIFAR_ADDRESS = "https://www.cs.toronto.edu/~kriz"
COVID_CT_ADDRESS = "https://raw.githubusercontent.com/UCSD-AI4H/COVID-CT/master"
COVID_CT = {  # SHA-256 by folder and name
    "": {
        "COVID-CT-MetaInfo.xlsx": (
            "b6aa93a8fbc3b55b48c7aed0570203d0e2a29cb4792b457fca2648ab0455a8f3"
        ),
        "NonCOVID-CT-MetaInfo.csv": (
            "d45a4b8af92ce2bac3085f6c1f8e0f324dbf3223565aeee7fbd877c3cb3090c9"
        ),
    },
    "Images-processed": {
        "CT_COVID.zip": "0fba59232b160ac9eeabff69e41a1accbaa16080f2a652844078442e6f09d084",
        "CT_NonCOVID.zip": "2fa87e1c40d09af9c3f319a339669fb5b4ff310cafe324f447709d9a729b3891",
    },
    "Data-split/COVID": {
        "trainCT_COVID.txt": "3d448eb4cc63a7396ecd450c54c2620b7779ec85310c73b47aa29d8b91cdbc1e",
        "valCT_COVID.txt": "4dd20c66e465a4cabd8e3e5625c83300c8938516d782f3d04761ded13eac124c",
        "testCT_COVID.txt": "39a840012d648b0bacead20300c41413402117a67eb2ac5d9c9bc7c8f8b71474",
    },
    "Data-split/NonCOVID": {
        "trainCT_NonCOVID.txt": "e628fa215718c258116e54165b1aa640c65fbc8b2db325c4aa2f0089cc0040be",
        "valCT_NonCOVID.txt": "2d5d2078b614fecd04a4fb33648c2b3f83adc9309899e9d53c3e61a1ac7a8a13",
        "testCT_NonCOVID.txt": "9de2786eb411bdbeff546148106640e659596927825241e80ba3521b159c3a01",
    },
}


class PublishedFile(NamedTuple):
    """Path below the data folder, address, and digest, by "md5" or "sha256"."""

    path: str
    address: str
    algorithm: str
    digest: str

    def digest_of(self, path: str) -> str:
        """The digest of a local file, by the same algorithm."""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest()


def published_files(name: str) -> list[PublishedFile]:
    """The files of a data set that `--download` takes; of CIFAR the archive of Python pickles."""
    mirror = os.environ.get("COVID_LM_MIRROR", "").rstrip("/")
    if name.startswith("cifar"):
        archive = LAYOUTS[name.removesuffix("_coarse")][0].archive
        address = f"{mirror or CIFAR_ADDRESS}/{archive}"
        return [PublishedFile(archive, address, "md5", PUBLISHED[archive][1])]
    address = mirror or COVID_CT_ADDRESS
    files = []
    for folder, digests in COVID_CT.items():
        for filename, digest in digests.items():
            path = os.path.join(folder, filename)
            files.append(PublishedFile(path, f"{address}/{path}", "sha256", digest))
    return files


def download(name: str, data_dir: str) -> None:
    """Downloads the files of a data set that are not in its folder yet.

    Files that are there must be the published ones. Of CIFAR, any of its versions will do. Two
    processes with one folder wait for each other.

    Args:
        name: a data set that `--download` takes.
        data_dir: a folder on this machine, made if absent.

    Raises:
        InputError: no such folder, or a file there with other content.
        RunError: the server can't be reached, lacks a file, or sends another one.
    """
    if is_remote(data_dir) or os.path.isfile(data_dir):
        raise InputError(f"--download: --data_dir={data_dir} must be a folder on this machine")
    is_new = not os.path.exists(data_dir)
    make_directories(data_dir)
    try:
        _download_missing(name, data_dir)
    except BaseException:
        if is_new and not files_below(data_dir):
            remove_tree(data_dir)  # empty folders
        raise


def _download_missing(name: str, data_dir: str) -> None:
    with locked_folder(data_dir):
        files = published_files(name)
        if name.startswith("cifar"):
            with contextlib.suppress(InputError):  # there is none
                if os.path.basename(find_source(name, data_dir).path) != files[0].path:
                    return
        missing = [file for file in files if not _is_there(file, data_dir)]
        if not missing:
            return
        with _session() as session:
            for file in missing:
                path = os.path.join(data_dir, file.path)
                make_directories(os.path.dirname(path))
                _fetch(session, file, path)


def _is_there(file: PublishedFile, data_dir: str) -> bool:
    path = os.path.join(data_dir, file.path)
    if not os.path.lexists(path):
        return False
    check_file(path)
    if file.digest_of(path) != file.digest:
        raise InputError(
            f"{path}: not the published file, which has the {file.algorithm.upper()} sum "
            f"{file.digest}; remove it to download it, or leave out --download"
        )
    return True


@contextlib.contextmanager
def _session() -> Iterator["requests.Session"]:
    """A session that repeats requests that get no answer, or one that says to try later."""
    import requests
    import urllib3

    retries = urllib3.Retry(
        ATTEMPTS - 1,
        connect=2,
        status_forcelist=(408, 429, 500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,  # it may be an hour
        backoff_factor=FIRST_PAUSE,
        backoff_max=LONGEST_PAUSE,
    )
    logger = logging.getLogger("urllib3.connectionpool")
    level = logger.level
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))
        # Packed on the way, the number of bytes would not be that of the file.
        session.headers["Accept-Encoding"] = "identity"
        logger.setLevel(logging.ERROR)  # each repetition is a warning
        try:
            yield session
        finally:
            logger.setLevel(level)


def _fetch(session: "requests.Session", file: PublishedFile, path: str) -> None:
    """Downloads a file. One that breaks off is continued, and in the end complete or not kept."""
    import requests

    bar = tqdm.tqdm(desc=os.path.basename(path), unit="B", unit_scale=True, disable=None)
    with atomic_write(path) as staged, bar:
        for attempt in range(1, ATTEMPTS + 1):
            with open(staged, "wb" if attempt == 1 else "ab") as target:
                try:
                    _receive(session, file.address, target, bar)
                    break
                except requests.RequestException as error:
                    if attempt == ATTEMPTS:
                        raise RunError(
                            f"{file.address}: broke off {ATTEMPTS} times, the last time at "
                            f"{target.tell()} bytes ({reason(innermost(error))}); try again later"
                        ) from None
            time.sleep(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE))
        found = file.digest_of(staged)
        if found != file.digest:
            raise RunError(
                f"{file.address}: not the published file, its {file.algorithm.upper()} sum is "
                f"{found} and not {file.digest}; repeat the command, or put the published file at "
                f"{path}"
            )
    print(f"downloaded: {path}")


def _receive(session: "requests.Session", address: str, target: BinaryIO, bar: tqdm.tqdm) -> None:
    """Appends the bytes that the file lacks.

    Raises:
        requests.RequestException: the answer is not complete.
        RunError: no answer, or not the file.
    """
    import requests

    start = target.tell()
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response = session.get(address, headers=headers, timeout=_SECONDS, stream=True)
    except requests.RequestException as error:
        raise RunError(
            f"{address}: can't be reached ({reason(innermost(error))}); repeat the command, or get "
            "the file on another machine"
        ) from None
    with response:
        if response.status_code not in (200, 206):
            remedy = "get the file elsewhere" if response.status_code == 404 else "try again later"
            raise RunError(f"{address}: HTTP {response.status_code} {response.reason}; {remedy}")
        if response.status_code == 200 and start:  # it sends the whole file again
            target.truncate(0)
            start = 0
        bar.total = start + int(response.headers.get("Content-Length", 0)) or None
        bar.n = start
        for chunk in response.iter_content(_CHUNK_BYTES):
            target.write(chunk)
            bar.update(len(chunk))
            if target.tell() > FILE_BYTES:
                raise RunError(f"{address}: more than {FILE_BYTES} bytes, not the published file")
