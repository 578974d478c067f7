"""Groups of a factor: levels of text, decades of ages, quarters of other numbers."""

import numpy as np
import pytest

from covid_lm.data.factors import MAX_LEVELS, factor_columns, factor_levels
from covid_lm.data.records import ImageRecord


def groups(values, name=""):
    """The level of each value, None where it is missing."""
    found = factor_levels(values, name)
    assert found.codes.shape == (len(values),)
    assert {*found.codes.tolist()} - {-1} == {*range(len(found.levels))}
    return [None if code < 0 else found.levels[code] for code in found.codes]


def test_text_has_a_level_for_each_value():
    values = ["GE", "Siemens", "", "GE", "n/a", "Siemens", "NaN", "null"]
    expected = ["GE", "Siemens", None, "GE", None, "Siemens", None, None]
    assert groups(values) == expected
    assert not factor_levels(values).is_numeric
    assert factor_levels(values).levels == ("GE", "Siemens")


@pytest.mark.parametrize("name", ["age", "Age (years)", "patient_age", "PatientAge", "AGE"])
def test_ages_are_cut_into_decades(name):
    values = ["0", "9.5", "10", "34", "39", "40", "89", "90", "101", ""]
    decades = ["0 to 9", "0 to 9", "10 to 19", "30 to 39", "30 to 39", "40 to 49", "80 to 89"]
    assert groups(values, name) == [*decades, "90 or more", "90 or more", None]
    dicom = ["000Y", "009Y", "010Y", "034Y", "039Y", "040Y", "089Y", "090Y", "101Y", ""]
    assert groups(dicom, name) == [*decades, "90 or more", "90 or more", None]


@pytest.mark.parametrize("name", ["", "dosage", "image", "stage", "ageing"])
def test_other_numbers_are_cut_into_quarters(name):
    values = [*"12345678", "", "nan"]
    expected = ["1 to 2"] * 2 + ["3 to 4"] * 2 + ["5 to 6"] * 2 + ["7 to 8"] * 2
    assert groups(values, name) == [*expected, None, None]
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(size=400)
    found = factor_levels([str(value) for value in drawn], name)
    assert np.bincount(found.codes).tolist() == [100] * 4
    for code in range(3):  # in order, and no band overlaps the next
        assert drawn[found.codes == code].max() < drawn[found.codes == code + 1].min()


def test_few_numbers_are_levels_in_their_order():
    assert groups(["120", "80.0", "", "100", "80"]) == ["120", "80", None, "100", "80"]
    found = factor_levels(["120", "80.0", "", "100", "80"])
    assert found.levels == ("80", "100", "120")
    assert found.is_numeric


def test_values_that_are_mostly_equal_keep_the_bands_that_differ():
    assert {*groups(["0"] * 90 + [str(k) for k in range(1, 11)])} == {"0 to 10"}
    values = ["0"] * 60 + [str(k) for k in range(1, 41)]
    assert [*dict.fromkeys(groups(values))] == ["0 to 15", "16 to 40"]


@pytest.mark.parametrize("values", [["007", "1", "007", "1"], ["1", "inf", "1", "inf"]])
def test_codes_that_look_like_numbers_are_text(values):
    assert groups(values) == values
    assert not factor_levels(values).is_numeric


def test_long_numbers_are_shown_rounded():
    """A band's ends would otherwise be numbers of two patients."""
    found = factor_levels([str(71234560 + 10000 * k) for k in range(20)])
    assert len(found.levels) == 4
    assert found.levels[0] == "71230000 to 71270000"
    close = factor_levels([str(71234560 + k) for k in range(20)])
    assert close.levels == ("71230000 (1)", "71230000 (2)", "71230000 (3)", "71230000 (4)")


def test_text_with_too_many_values_has_no_levels():
    assert factor_levels([f"note {k}" for k in range(MAX_LEVELS)] * 2) is not None
    assert factor_levels([f"note {k}" for k in range(MAX_LEVELS + 1)] * 2) is None
    assert factor_levels([f"note {k}" for k in range(12)]) is None


def test_empty_column_has_no_levels():
    assert factor_levels(["", "NA"]).levels == ()
    assert groups(["", "NA"]) == [None, None]
    assert groups([]) == []


def test_columns_have_every_records_value():
    factors = [{"sex": "F"}, {"age": "7"}, {"sex": "M", "age": "8"}]
    records = [ImageRecord("a", 0, "test", "a", bytes, factors=f) for f in factors]
    assert factor_columns(records) == {"sex": ["F", "", "M"], "age": ["", "7", "8"]}
