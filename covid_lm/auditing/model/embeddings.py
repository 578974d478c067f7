"""Embeddings of images by a model: near duplicates that pixels don't show, and clusters by source.

A model that was trained for something else, such as natural photographs, sees copies that are
cropped or turned, and the look of a scanner or a publication. Its vectors are centred, whitened
and scaled to length 1; a cosine near 1 has no meaning of its own, since the vectors of some models
are all similar. Two images of different patients are near duplicates if each is closer to the
other than chance allows, given the distances to its other neighbours (after Facco et al. 2017,
"Estimating the intrinsic dimension of datasets by a minimal neighborhood information", Scientific
Reports 7, 12140). Nothing is searched with a model that doesn't recognize cropped copies.
"""

import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
import tqdm
from PIL import Image

from covid_lm.auditing.duplicates import DuplicatePair
from covid_lm.auditing.features.observations import Observation
from covid_lm.auditing.model.image_edits import rgb_pixels
from covid_lm.errors import InputError
from covid_lm.serving.predict import Signature

BATCH_SIZE = 32
MAX_COPIES = 64
CROPPED_SHARE = 0.03  # of each side of a copy
COPY_QUALITY = 80
RECOGNIZED_SHARE = 0.9  # of the copies, at least
KEPT_VARIANCE = 0.99
NEIGHBOURS = 10
SIGNIFICANCE = 0.01  # of a pair, corrected for the number of images
MAX_CLUSTERS = 12
IMAGES_PER_CLUSTER = 30
CLUSTER_DIMENSIONS = 16
_BLOCK = 1024
Embedder = Callable[[Sequence[bytes]], np.ndarray]


def load_embedder(version_dir: str) -> Embedder:
    """Function from image files to vectors, float32 [n, d], by a SavedModel's signature `embed`.

    File names are empty, so that the vectors depend on the images only. An image that the model
    can't decode has a vector of zeros.

    Raises:
        InputError: no such signature, or one that doesn't give a vector for each image.
        RunError: the model can't be loaded.
    """
    signature = Signature(version_dir, "embed")

    def embed(payloads: Sequence[bytes]) -> np.ndarray:
        outputs = signature([("", payload) for payload in payloads])
        vectors = outputs.get("embedding", next(iter(outputs.values())))
        if vectors.ndim != 2 or len(vectors) != len(payloads):
            raise InputError(f"{version_dir}: its signature 'embed' gives no vector for each image")
        return vectors.astype(np.float32)

    return embed


@dataclasses.dataclass(frozen=True)
class Embedded:
    """The view of a model on n images.

    Attributes:
        dimensions: of the vectors.
        missing: number of images without a vector.
        copies, recognized: number of cropped copies that were tried, and of those whose original
            was the nearest image.
        pairs: near duplicates, indices of images of different groups; none if too few copies were
            recognized.
        clusters: name of each image's cluster, "" without a vector.
    """

    dimensions: int
    missing: int
    copies: int
    recognized: int
    pairs: tuple[DuplicatePair, ...]
    clusters: tuple[str, ...]

    @property
    def tells_copies(self) -> bool:
        """True if the model recognized enough copies to search for near duplicates."""
        return self.recognized >= RECOGNIZED_SHARE * max(self.copies, 1)

    @property
    def line(self) -> str:
        """A sentence on the model's view."""
        found = (
            f"{len(self.pairs)} near duplicate(s) of different patients"
            if self.tells_copies
            else "too few to search for near duplicates"
        )
        names = len({*self.clusters} - {""})
        without = f"; no vector for {self.missing} image(s)" if self.missing else ""
        return (
            f"{self.dimensions} dimensions; recognizes {self.recognized} of "
            f"{self.copies} copies cropped by {CROPPED_SHARE:.0%}: {found}; {names} cluster(s)"
            f"{without}"
        )


def embed_images(
    embed: Embedder,
    seen: Sequence[Observation],
    groups: np.ndarray,
    seed: int = 0,
    progress: bool = False,
) -> Embedded:
    """Embeds images, and searches near duplicates and clusters.

    Args:
        groups: int [n]; images of one group (of a patient, or copies of each other) are similar
            for known reasons, and no pairs.
        seed: of the copies and the clusters.
        progress: whether to show a progress bar on standard error.
    """
    vectors = _in_batches(embed, [o.record.read for o in seen], progress)
    known = np.flatnonzero(np.linalg.norm(vectors, axis=1) > 0)
    clusters = np.full(len(seen), "", object)
    missing = len(seen) - len(known)
    if len(known) < 2 * NEIGHBOURS:
        return Embedded(vectors.shape[1], missing, 0, 0, (), tuple(clusters))
    chosen = np.random.default_rng(seed).permutation(known)[:MAX_COPIES]
    copies = _in_batches(embed, [_copied(seen[i].record.read) for i in chosen], False)
    space = Directions(vectors[known])
    turned, images = space.turned(vectors[known]), space.whitened(vectors[known])
    originals = np.searchsorted(known, chosen)
    recognized = _recognized(images, space.whitened(copies), originals, groups[known])
    clusters[known] = cluster_names(turned, seed)
    view = Embedded(vectors.shape[1], missing, len(chosen), recognized, (), tuple(clusters))
    if not view.tells_copies:
        return view
    pairs = [
        DuplicatePair(int(known[i]), int(known[j]), float(turned[i] @ turned[j]), False, True)
        for i, j in close_pairs(images, groups[known])
    ]
    pairs.sort(key=lambda pair: (-pair.correlation, pair.first, pair.second))
    return dataclasses.replace(view, pairs=tuple(pairs))


def _in_batches(
    embed: Embedder, readers: Sequence[Callable[[], bytes]], progress: bool
) -> np.ndarray:
    bar = tqdm.tqdm(total=len(readers), desc="embedding images", unit="image", disable=not progress)
    parts = []
    with bar:
        for start in range(0, len(readers), BATCH_SIZE):
            batch = [read() for read in readers[start : start + BATCH_SIZE]]
            parts.append(embed(batch))
            bar.update(len(batch))
    return np.concatenate(parts)


def _copied(read: Callable[[], bytes]) -> Callable[[], bytes]:
    """Reader of a cropped and compressed copy."""

    def copy() -> bytes:
        image = Image.fromarray(rgb_pixels(read()))
        x, y = (round(CROPPED_SHARE * side) for side in image.size)
        buffer = io.BytesIO()
        image.crop((x, y, image.width - x, image.height - y)).save(
            buffer, "JPEG", quality=COPY_QUALITY
        )
        return buffer.getvalue()

    return copy


class Directions:
    """Directions that hold 99% of the variance of vectors, the largest first.

    Args:
        vectors: float32 [n, d].
    """

    def __init__(self, vectors: np.ndarray):
        self.mean = vectors.mean(axis=0)
        centred = (vectors - self.mean).astype(np.float64)
        variances, directions = np.linalg.eigh(centred.T @ centred / len(vectors))
        variances = np.maximum(variances[::-1], 1e-30)
        kept = int(np.searchsorted(np.cumsum(variances) / variances.sum(), KEPT_VARIANCE)) + 1
        self.directions, self.spreads = directions[:, ::-1][:, :kept], np.sqrt(variances[:kept])

    def turned(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [n, d] along the directions, centred and of length 1: float32 [n, m]."""
        return _unit((vectors - self.mean) @ self.directions)

    def whitened(self, vectors: np.ndarray) -> np.ndarray:
        """As `turned`, and with equal variance along all directions."""
        return _unit((vectors - self.mean) @ (self.directions / self.spreads))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def _recognized(
    images: np.ndarray, copies: np.ndarray, originals: np.ndarray, groups: np.ndarray
) -> int:
    """Number of copies to which no image of another group is as close as the original."""
    cosines = copies @ images.T
    own = cosines[np.arange(len(copies)), originals]
    others = np.where(groups[originals][:, None] == groups, -np.inf, cosines).max(axis=1)
    return int(np.sum(own > others))


def close_pairs(images: np.ndarray, groups: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of images of different groups, each closer to the other than chance allows.

    Around a point of a space of d dimensions, (distance / distance of the k-th neighbour)^d of the
    nearest neighbour has the law Beta(1, k - 1). The median over all images gives d. Copies are few
    or have d at most a little too small, which makes the test stricter.

    Args:
        images: vectors of length 1, float32 [n, m].
        groups: int [n].

    Returns:
        (i, j) with i < j.
    """
    k = NEIGHBOURS - 1
    nearest = _nearest(images, groups)
    first, last = nearest[:, 0], np.maximum(nearest[:, -1], 1e-12)
    ratio = float(np.median(first / last))
    if not 0 < ratio < 1:
        return []
    dimension = np.log(1 - 0.5 ** (1 / k)) / np.log(ratio)
    quantile = 1 - (1 - SIGNIFICANCE / len(images)) ** (1 / k)
    reach = (last * quantile ** (1 / dimension)).astype(np.float32)
    found: list[tuple[int, int]] = []
    for start in range(0, len(images), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distances = _distances(images[rows], images, groups[rows], groups)
        near = distances <= np.minimum(reach[rows, None], reach)
        i, j = np.nonzero(np.triu(near, start + 1))
        found += zip((i + start).tolist(), j.tolist(), strict=True)
    return found


def _nearest(images: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Distances to the nearest images of other groups, ascending, [n, NEIGHBOURS]."""
    parts = []
    for start in range(0, len(images), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distances = _distances(images[rows], images, groups[rows], groups)
        parts.append(np.sort(np.partition(distances, NEIGHBOURS - 1)[:, :NEIGHBOURS], axis=1))
    return np.concatenate(parts)


def _distances(
    first: np.ndarray, second: np.ndarray, first_groups: np.ndarray, second_groups: np.ndarray
) -> np.ndarray:
    """Distances of vectors of length 1; infinite within a group."""
    distances = np.sqrt(np.maximum(2 - 2 * first @ second.T, 0))
    distances[first_groups[:, None] == second_groups] = np.inf
    return distances


def cluster_names(images: np.ndarray, seed: int) -> np.ndarray:
    """Clusters the images by k-means: names of text [n], "01" for the largest cluster.

    Labels are not used. There is a cluster for 30 images, at least 2 and at most 12.
    """
    from sklearn.cluster import KMeans  # takes a second, and other audits need no clusters

    kept = images[:, :CLUSTER_DIMENSIONS]
    distinct = len(np.unique(kept.round(5), axis=0))
    count = min(max(len(images) // IMAGES_PER_CLUSTER, 2), MAX_CLUSTERS, distinct)
    labels = KMeans(count, n_init=4, random_state=seed).fit_predict(kept)
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    names = {label: f"{rank:02}" for rank, label in enumerate(order, 1)}
    return np.array([names[label] for label in labels], object)
