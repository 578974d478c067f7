"""Shared by the tests of the audit: phantom slices that are drawn once."""

import functools

import pytest

from covid_lm.data.phantom import dataset


@pytest.fixture(scope="session")
def slices_drawn_once():
    """Phantoms of one seed share most of their slices, whatever leak is planted: each is cached."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "draw_slice", functools.lru_cache(1500)(dataset.draw_slice))
        yield
