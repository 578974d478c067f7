"""The digest at the end of a file of weights, by which any damage to it is noticed."""

import hashlib
import os

from covid_lm.errors import UnusableFile


def append_digest(path: str) -> None:
    """Ends a file with the SHA-256 digest of its content; readers of zip and HDF5 ignore it."""
    with open(path, "r+b") as file:
        file.write(hashlib.file_digest(file, "sha256").hexdigest().encode())


def check_digest(path: str, required: bool = True) -> None:
    """Raises UnusableFile for a file whose end is another digest or, if `required`, none.

    An end of mostly hexadecimal digits is a digest, be it a damaged one.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        remaining = os.fstat(file.fileno()).st_size - 2 * digest.digest_size
        while content := file.read(max(0, min(remaining, 2**20))):
            digest.update(content)
            remaining -= len(content)
        found = file.read()
    differs = found != digest.hexdigest().encode()
    hexadecimal = sum(byte in b"0123456789abcdef" for byte in found)
    if differs and (required or hexadecimal > len(found) // 2):
        raise UnusableFile(path, "its SHA-256 digest is missing or differs")
