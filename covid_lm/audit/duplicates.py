"""Exact and near duplicates: a perceptual hash proposes pairs, a correlation confirms them."""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from covid_lm.audit.features.observations import Observation

HASH_SIDE = 8
MAX_DISTANCE = 18
MIN_CORRELATION = 0.97
MIN_SPREAD = 2.0
_MIN_IMAGES_FOR_MEAN = 10
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class DuplicatePair:
    """Two files that show the same picture.

    Attributes:
        first, second: their indices, first < second.
        correlation: of their thumbnails, 1.0 where the files are the same byte for byte.
        exact: whether they are.
    """

    first: int
    second: int
    correlation: float
    exact: bool


def find_duplicates(observations: Sequence[Observation]) -> list[DuplicatePair]:
    """All pairs of the same picture, whatever its size, format or compression.

    Two pictures are near duplicates where their 32 x 32 thumbnails correlate by 0.97 or more,
    both as they are and after the data set's mean picture is taken away: scans of one kind all
    look alike, and only what is a picture's own can tell it from the others. Rotated, mirrored and
    cropped copies aren't found. Of n exact copies each is paired with the first only.

    Returns:
        Pairs by falling correlation; exact ones first.
    """
    groups = collections.defaultdict(list)
    for index, observation in enumerate(observations):
        groups[observation.digest].append(index)
    exact = [
        DuplicatePair(members[0], other, 1.0, True)
        for members in groups.values()
        for other in members[1:]
    ]
    representatives = sorted(members[0] for members in groups.values())
    thumbnails = np.stack([observations[i].thumbnail for i in representatives])
    near = [
        DuplicatePair(representatives[i], representatives[j], correlation, False)
        for i, j, correlation in near_pairs(thumbnails)
    ]
    return sorted([*exact, *near], key=lambda p: (not p.exact, -p.correlation, p.first, p.second))


def near_pairs(thumbnails: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs (i, j, correlation), i < j, of near duplicates.

    Every pair's hashes are compared, in blocks: 10,000 images take seconds.

    Args:
        thumbnails: uint8 [n, 32, 32]; nearly uniform ones match nothing.
    """
    vectors = _standardized(thumbnails.reshape(len(thumbnails), -1).astype(np.float32))
    textured = np.flatnonzero(thumbnails.std(axis=(1, 2)) >= MIN_SPREAD)
    vectors = vectors[textured]
    own = vectors
    if len(vectors) >= _MIN_IMAGES_FOR_MEAN:
        own = _standardized(vectors - vectors.mean(axis=0))
    signs = perceptual_hash(own.reshape(-1, *thumbnails.shape[1:])) * 2.0 - 1  # [n, 64]
    pairs: list[tuple] = []
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distance = (signs.shape[1] - signs[rows] @ signs[start:].T) / 2
        first, second = np.nonzero(np.triu(distance <= MAX_DISTANCE, 1))
        first, second = first + start, second + start
        for part in np.array_split(np.arange(len(first)), len(first) // 100_000 + 1):
            i, j = first[part], second[part]
            correlation = np.minimum(
                np.einsum("nd,nd->n", vectors[i], vectors[j]),
                np.einsum("nd,nd->n", own[i], own[j]),
            )
            kept = correlation >= MIN_CORRELATION
            pairs += zip(i[kept], j[kept], correlation[kept], strict=True)
    return [(int(textured[i]), int(textured[j]), min(float(c), 1.0)) for i, j, c in pairs]


def perceptual_hash(pictures: np.ndarray) -> np.ndarray:
    """64 bits a picture: which of its 8 x 8 blocks are brighter than their median.

    Args:
        pictures: [n, side, side], side a multiple of 8.

    Returns:
        float32 [n, 64] of zeros and ones.
    """
    count, side, _ = pictures.shape
    step = side // HASH_SIDE
    blocks = pictures.reshape(count, HASH_SIDE, step, HASH_SIDE, step).mean(axis=(2, 4))
    blocks = blocks.reshape(count, HASH_SIDE**2)
    return (blocks > np.median(blocks, axis=1, keepdims=True)).astype(np.float32)


def _standardized(vectors: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, so that a product of two is their correlation."""
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def connected_groups(num_items: int, links: Sequence[tuple[int, int]]) -> np.ndarray:
    """Labels, int [num_items], equal for items that links join, directly or not."""
    parent = list(range(num_items))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in links:
        parent[max(root(first), root(second))] = min(root(first), root(second))
    return np.array([root(item) for item in range(num_items)], int)


def chain(members: Sequence[int]) -> list[tuple[int, int]]:
    """Links that join all members of one group."""
    return list(itertools.pairwise(members))
