"""What one label makes of its neighbours."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()


def redacted(text):
    parts = ({"text": text},)
    return SCREENER.redact(parts, SCREENER.screen(parts))[0]["text"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Patient: Ronu Velak, diagnosis: bipolar disorder.", ("bipolar", "disorder")),
        ("Mr Ronu Velak was diagnosed with breast cancer last year.", ("breast", "cancer")),
        (
            "Patient Ronu Velak takes warfarin for type 2 diabetes.",
            ("warfarin", "diabetes", "type"),
        ),
        ("Patient Ronu Velak takes lithium for hepatitis C.", ("lithium", "hepatitis", " C.")),
        ("Employee Ronu Velak, salary: 178,900 EUR.", ("Ronu", "178")),
        ("Ship to: Ronu Velak, 168 Rose Street, Graz.", ("Ronu", "Velak", "Rose")),
    ],
)
def test_no_half_of_a_record_is_left(text, left):
    """The second term, the rest of a diagnosis, the name before an address, what somebody earns."""
    shown = redacted(text)
    assert not [word for word in left if word in shown], shown


@pytest.mark.parametrize(
    "text",
    [
        "Diabetes and asthma are treated with insulin and salbutamol.",
        "Breast cancer is the topic of the lecture at 12 o'clock.",
        "Rose Street, Station Road and Mill Lane are closed today.",
    ],
)
def test_what_has_no_label_spreads_none(text):
    """Medicine and streets at large are left alone."""
    assert SCREENER.screen(({"text": text},)).labels == ()


def test_a_far_term_is_left_alone():
    """What stands 200 characters away belongs to something else."""
    text = (
        "Patient: Ronu Velak, diagnosis: epilepsy."
        + " The shop opens at nine." * 12
        + " Asthma week."
    )
    assert redacted(text).endswith("Asthma week.")
