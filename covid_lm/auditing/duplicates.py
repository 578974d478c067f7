"""Exact and near duplicates: low frequencies and a hash propose pairs, a correlation confirms."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft, sparse
from scipy.sparse import csgraph

from covid_lm.auditing.design_matrix import standardized
from covid_lm.auditing.features.observations import Observation

HASH_SIDE = 8
MAX_DISTANCE = 18
MIN_CORRELATION = 0.97
MIN_SPREAD = 2.0
_MIN_IMAGES_FOR_MEAN = 10
_BLOCK = 1024
_ROUNDING = 1e-4
_PAIRS = 2000  # that fit a processor's cache


@dataclasses.dataclass(frozen=True)
class DuplicatePair:
    """Two files that show the same image.

    Attributes:
        first, second: indices of the files, first < second.
        correlation: of their thumbnails, or the cosine of their embeddings; 1.0 for exact copies.
        exact: whether the files are identical byte for byte.
        by_embedding: whether only a model finds them similar, see `model.embeddings`.
    """

    first: int
    second: int
    correlation: float
    exact: bool
    by_embedding: bool = False


def find_duplicates(observations: Sequence[Observation]) -> list[DuplicatePair]:
    """Finds all pairs of files with the same image, whatever its size, format or compression.

    Two images are near duplicates if their 32 x 32 thumbnails correlate by 0.97 or more, both as
    they are and after subtraction of the data set's mean thumbnail: scans of one kind resemble
    each other, and only the difference from the mean distinguishes them. One of the two may be
    mirrored or turned by quarters; cropped copies are not found. Each of several exact copies is
    paired with the first only.

    Returns:
        Exact pairs, then near duplicates by descending correlation.
    """
    originals: dict[str, int] = {}
    exact = []
    for index, observation in enumerate(observations):
        original = originals.setdefault(observation.digest, index)
        if original != index:
            exact.append(DuplicatePair(original, index, 1.0, True))
    distinct = list(originals.values())
    pairs = near_pairs(np.stack([observations[i].thumbnail for i in distinct]))
    near = [DuplicatePair(distinct[i], distinct[j], r, False) for i, j, r in pairs]
    return sorted([*exact, *near], key=lambda p: (not p.exact, -p.correlation, p.first, p.second))


def independent_groups(
    patients: Sequence[str | None],
    pairs: Sequence[DuplicatePair],
    sources: Sequence[str | None] = (),
) -> np.ndarray:
    """Numbers the groups of dependent files: of one patient or source, or duplicates.

    Args:
        patients: the patient of each of the n files, None where unknown.
        sources: the source of each file, None where unknown; empty if sources don't count.

    Returns:
        int [n], the group of each file, numbered from 0 in the order of the files.
    """
    # A graph of files, patients and sources, whose edges join the files of each, and duplicates.
    keys = [("patient", name) for name in patients] + [("source", name) for name in sources]
    numbers = {key: len(patients) + i for i, key in enumerate(dict.fromkeys(keys))}
    links = [(i % len(patients), numbers[k]) for i, k in enumerate(keys) if k[1] is not None]
    links += [(pair.first, pair.second) for pair in pairs]
    rows, columns = np.array(links, int).reshape(-1, 2).T
    size = len(patients) + len(numbers)
    graph = sparse.coo_array((np.ones(len(links)), (rows, columns)), shape=(size, size))
    _, groups = csgraph.connected_components(graph, directed=False)
    return groups[: len(patients)]


def near_pairs(thumbnails: np.ndarray) -> list[tuple[int, int, float]]:
    """Finds near duplicates, as (i, j, correlation) with i < j, the largest over all turns of j.

    The low frequencies of all pairs are compared, in blocks: 10,000 images take seconds.

    Args:
        thumbnails: uint8 [n, 32, 32]; nearly uniform ones have no duplicates.
    """
    textured = np.flatnonzero(thumbnails.std(axis=(1, 2)) >= MIN_SPREAD)
    if len(textured) < 2:
        return []
    flat = thumbnails[textured].reshape(len(textured), -1).astype(np.float32)
    images = standardized(flat, axis=1).reshape(-1, *thumbnails.shape[1:])
    mean = images.mean(axis=0) if len(images) >= _MIN_IMAGES_FOR_MEAN else np.float32(0)

    def compared(turned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images as vectors, as they are and after subtraction of the mean, [n, 1024] each."""
        own = standardized((turned - mean).reshape(len(turned), -1), axis=1)
        return turned.reshape(len(turned), -1), own

    found: dict[tuple[int, int], float] = {}
    for quarters in range(4):
        turned = np.rot90(images, quarters, axes=(1, 2))
        for second in (turned, turned[:, :, ::-1]):
            for i, j, correlation in _correlated(compared(images), compared(second)):
                found[i, j] = max(correlation, found.get((i, j), 0.0))
    return [(int(textured[i]), int(textured[j]), r) for (i, j), r in found.items()]


def _correlated(
    first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]
) -> Iterator[tuple[int, int, float]]:
    """Pairs i < j of row i of `first` and row j of `second` that correlate in all their arrays.

    Args:
        first, second: standardized vectors, [n, 1024] each; the last arrays are hashed.
    """
    side = math.isqrt(first[-1].shape[1])
    squares = [vectors[-1].reshape(-1, side, side) for vectors in (first, second)]
    hashes = [perceptual_hash(images) > 0 for images in squares]
    coarse, others = (_coarse(squares[0], False), _coarse(squares[1], True))
    for start in range(0, len(coarse), _BLOCK):
        rows = slice(start, start + _BLOCK)
        near, far = np.nonzero(coarse[rows] @ others[start:].T >= MIN_CORRELATION - 1 - _ROUNDING)
        near, far = near[near < far], far[near < far]
        for part in np.array_split(np.arange(len(near)), len(near) // _PAIRS + 1):
            i, j = near[part] + start, far[part] + start
            kept = np.sum(hashes[0][i] != hashes[1][j], axis=1) <= MAX_DISTANCE
            i, j, least = i[kept], j[kept], np.ones(1, np.float32)
            for a, b in zip(first[::-1], second[::-1], strict=True):  # few pass the hashed arrays
                correlation = np.minimum(np.einsum("nd,nd->n", a[i], b[j]), least)
                kept = correlation >= MIN_CORRELATION
                i, j, least = i[kept], j[kept], correlation[kept]
            yield from zip(i.tolist(), j.tolist(), least.tolist(), strict=True)


def _coarse(images: np.ndarray, last: bool) -> np.ndarray:
    """Vectors whose products are an upper bound of the correlations, minus 1.

    For vectors of length 1 the correlation is 1 - distance^2 / 2. An image's lowest 64 frequencies
    hold most of it, and a distance of these alone is at most that of the images.

    Args:
        images: standardized vectors as [n, side, side].
        last: true for the second factor.

    Returns:
        float32 [n, 66].
    """
    waves = fft.dctn(images, axes=(1, 2), norm="ortho")[:, :HASH_SIDE, :HASH_SIDE]
    low = waves.reshape(len(images), -1)
    half = -np.sum(low**2, axis=1, keepdims=True) / 2
    ends = [np.ones_like(half), half] if last else [half, np.ones_like(half)]
    return np.concatenate([low, *ends], axis=1).astype(np.float32)


def perceptual_hash(images: np.ndarray) -> np.ndarray:
    """64 bits per image: which of its 8 x 8 blocks are brighter than the median block.

    Args:
        images: [n, side, side], side a multiple of 8.

    Returns:
        float32 [n, 64] of zeros and ones.
    """
    step = images.shape[1] // HASH_SIDE
    blocks = images.reshape(-1, HASH_SIDE, step, HASH_SIDE, step).mean(axis=(2, 4))
    blocks = blocks.reshape(-1, HASH_SIDE**2)
    return (blocks > np.median(blocks, axis=1, keepdims=True)).astype(np.float32)
