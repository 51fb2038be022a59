"""`mosdeploy fit`: a predictor of its own, or one that corrects another."""

from collections.abc import Callable
from typing import Any

from answers import CARD_LINE, predictor_card

from mosdeploy.records import SessionCalibration, TransferTrial
from mosdeploy.run_folder.options import FitOptions

FIT = "profile.fit"


def trial(**changes: Any) -> TransferTrial:
    made = TransferTrial(
        source="xeon", source_sha256="x", error_percent=3.21, scratch_percent=6.54, used=True
    )
    return made.model_copy(update=changes)


def test_a_predictor_is_told_in_one_line(ask: Callable[..., Any]) -> None:
    done = ask(FIT, predictor_card(), "fit", "--device", "rpi")
    assert done.arguments[1] == FitOptions("rpi")
    assert done.stdout == f"rpi-sentence: {CARD_LINE}\n"
    assert done.stderr == "next: mosdeploy train\n"  # there is no supernet yet


def test_sessions_that_were_brought_to_the_newest_are_told(ask: Callable[..., Any]) -> None:
    older = SessionCalibration(
        session="s1", host="pi1", started_at="2026-01-02", num_subnets=12, time_ratio=1.05
    )
    told = ask(FIT, predictor_card(rescaled_sessions=(older,)), "fit").stdout
    assert told.splitlines()[1:] == [
        "12 subnets of 2026-01-02: divided by 1.050, which the reference took then of its time in "
        "the newest session of pi1"
    ]


def test_a_correction_is_told_beside_a_fit_from_scratch(ask: Callable[..., Any]) -> None:
    done = ask(FIT, predictor_card(transfer=trial()), "fit", "--from", "xeon")
    assert done.arguments[1] == FitOptions(source="xeon")
    assert "corrected from xeon: error 3.21%, from scratch 6.54%" in done.stdout


def test_a_correction_that_lost_says_so(ask: Callable[..., Any]) -> None:
    card = predictor_card(transfer=trial(used=False, scratch_percent=None))
    told = ask(FIT, card, "fit").stdout
    assert "fitted from scratch, not from xeon: error 3.21%, from scratch too few subnets" in told
