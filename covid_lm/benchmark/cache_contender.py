"""The start of a run whose images are in the cache of pixels, for suite `growth`."""

import atexit
import contextlib
import functools

import numpy as np

from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import Step, set_tensorflow_threads

CHUNK = 10_000  # rows that are made at a time


def pixel_cache(case: Case) -> Step:
    """Build a step that finds `case.batch_size` images in a cache, and tokenizes them in chunks.

    As at the start of a run: a digest of each file, a checksum of each row. The files are numbers,
    and the pixels, 32x32 RGB, are random.
    """
    from covid_lm.backbones.vocabulary import built_in_vocabulary
    from covid_lm.data.records import ImageRecord
    from covid_lm.data.unlabelled import content_digest
    from covid_lm.models.preprocessor import Preprocessor
    from covid_lm.pipeline.decoded import decode_records
    from covid_lm.pipeline.pixel_cache import temporary_cache

    set_tensorflow_threads(case.threads)
    preprocessor = Preprocessor(built_in_vocabulary(), policy="masked")
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    cache = stack.enter_context(temporary_cache())
    contents = [b"%d" % number for number in range(case.batch_size)]
    generator = np.random.default_rng(0)
    with cache.rows(preprocessor.image_input) as rows:
        for start in range(0, len(contents), CHUNK):
            digests = [content_digest(content) for content in contents[start : start + CHUNK]]
            shape = (len(digests), 32, 32, 3)
            rows.append(digests, generator.integers(256, size=shape, dtype=np.uint8))
    records = [
        ImageRecord(f"{number}.png", 0, "train", f"{number}.png", functools.partial(bytes, content))
        for number, content in enumerate(contents)
    ]

    def step():
        decoded = decode_records(records, preprocessor.image_input, cache=cache)
        for chunk in decoded.chunks():
            chunk.tokenize(preprocessor)

    return step
