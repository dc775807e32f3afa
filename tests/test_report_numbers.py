"""Rounding, locales and alignment of numbers on the page."""

from __future__ import annotations

import pytest

from hierreport.errors import ConfigError
from hierreport.report.numbers import FIGURE_SPACE, MINUS, POINT_SPACE, Numbers, csv_value, decimals_for, prose_decimals


@pytest.mark.parametrize(
    ("value", "se", "text"),
    [
        (-0.29384, 0.0621, f"{MINUS}0.294"),
        (2.25, 0.128, "2.25"),
        (145792.4, 1234.0, "145,800"),
        (0.0004, 0.01, "0.000"),
        (-0.0004, 0.01, "0.000"),  # no negative zero
        (3.0, 9.96, "3"),  # 9.96 rounds to 10, whose second digit is the unit
        (1.0, 0.00996, "1.000"),
        (float("nan"), 0.1, "–"),
        (None, 0.1, "–"),
    ],
)
def test_estimates_show_two_digits_of_their_standard_error(value, se, text):
    assert Numbers().estimate(value, se) == text


@pytest.mark.parametrize(
    ("se", "decimals"), [(0.62, 1), (0.34, 2), (0.36, 1), (0.95, 1), (0.12, 2), (14.0, 0), (1.4, 1)]
)
def test_running_text_follows_the_particle_data_group(se, decimals):
    # 0.100-0.354: two digits; 0.355-0.949: one; 0.950-0.999: rounded up to 1.0 and two digits (PDG, Introduction 5.3)
    assert prose_decimals(se) == decimals


def test_decimals_for_carries():
    assert decimals_for(0.0996) == 2  # rounds to 0.10, whose two digits are tenths and hundredths
    assert decimals_for(0.0994) == 3
    assert decimals_for(9.99) == 0


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.834, "83 %"),
        (0.004, "0.4 %"),
        (0.996, "99.6 %"),
        (0.0001, "under 0.1 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (1.54, "154 %"),
    ],
)
def test_shares_keep_a_digit_near_the_ends(share, text):
    assert Numbers().percent(share).replace("\u202f", " ") == text


def test_p_values_are_never_zero():
    numbers = Numbers()
    assert numbers.p(1e-300).replace("\u202f", " ") == "< 0.001"
    assert numbers.p(0.0421) == "0.042"
    assert numbers.p(0.2531) == "0.25"
    assert numbers.p_phrase(0.2531).replace("\u00a0", " ") == "p = 0.25"


def test_locales_change_marks_and_not_values():
    assert Numbers("de").fixed(-1234567.891, 2) == f"{MINUS}1.234.567,89"
    assert Numbers("fr-FR").fixed(1234.5, 1) == "1\u202f234,5"
    assert Numbers("en-GB").fixed(1234.5, 1) == "1,234.5"
    with pytest.raises(ConfigError, match="locale 'tlh'"):
        Numbers("tlh")


def test_padding_puts_decimal_marks_below_each_other():
    padded = Numbers().pad(["1.25", "−10", "0.5", "–", ""])
    assert padded == ["1.25", "−10" + POINT_SPACE + 2 * FIGURE_SPACE, "0.5" + FIGURE_SPACE, "–", ""]
    assert Numbers().pad(["1,031", "7"]) == ["1,031", "7"]  # marks between thousands are no decimals


def test_full_values_read_back_to_the_same_double():
    for value in (0.1 + 0.2, 1e-17, -831.3093979317629, 1031, 3.0):
        assert float(csv_value(value)) == value
    assert csv_value(None) == ""
