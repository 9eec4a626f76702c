"""What is screened at start reaches what most messages reach."""

from mc_platform.screen import LibraryScreener
from mc_platform.screen.warm import warm


def test_warming_exercises_every_usual_kind_of_recogniser() -> None:
    """Forms, context words, signs of an attack and encodings, within the budget of one message."""
    found = warm(LibraryScreener())
    assert {"email", "payment-card", "iban", "phone", "national-id", "person-name"} <= found
    assert {"prompt-injection", "secret-key"} <= found
    assert "screening-limit" not in found
