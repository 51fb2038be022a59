"""`mosdeploy profile`: its options, and what is told of a device or a fleet."""

from collections.abc import Callable
from typing import Any

from answers import CARD_LINE, predictor_card

from mosdeploy.records import BoardCalibration
from mosdeploy.run_folder.options import ProfileOptions
from mosdeploy.run_folder.summaries import ProfileSummary

PROFILE = "profile.profile"
SUMMARY = ProfileSummary(
    device="rpi",
    emulated=False,
    path="predictors/rpi-sentence/latency.jsonl",
    measured_now=12,
    num_records=30,
    failed=0,
    card=predictor_card(),
    fastest_ms=80.0,
    slowest_ms=260.4,
    noise_floor_percent=0.5,
)


def test_options(ask: Callable[..., Any]) -> None:
    words = ("--device", "rpi", "--budget", "40", "--until-error", "2.5%", "--hosts", "pi1, pi2")
    done = ask(PROFILE, SUMMARY, "profile", *words)
    assert done.arguments[1] == ProfileOptions("rpi", 40, 2.5, ("pi1", "pi2"))
    done = ask(PROFILE, SUMMARY, "profile", "--renew")
    assert done.arguments[1] == ProfileOptions(renew=True)
    assert ask(PROFILE, SUMMARY, "profile").arguments[1] == ProfileOptions()


def test_measurements_and_predictor_are_told(ask: Callable[..., Any]) -> None:
    done = ask(PROFILE, SUMMARY, "profile")
    assert done.stdout.splitlines() == [
        "rpi: 12 measured now, 30 in predictors/rpi-sentence/latency.jsonl",
        "from 80.0 to 260 ms",
        f"predictor (cross-validated): {CARD_LINE}",
        "noise floor: repeats of one subnet lie 0.50% from their median",
    ]
    assert done.stderr == "next: mosdeploy train\n"


def test_times_of_an_emulation_lead_nowhere(ask: Callable[..., Any]) -> None:
    summary = SUMMARY.model_copy(update={"emulated": True, "card": None, "failed": 2})
    done = ask(PROFILE, summary, "profile")
    assert ", 2 failed\nemulated: not a latency: nothing is fitted" in done.stdout
    assert done.stderr == ""


def test_an_error_that_was_asked_for_is_reached_or_not(ask: Callable[..., Any]) -> None:
    for met, part in (
        (True, "an error of 2% (over the subn"),
        (False, "trusts) is NOT reached twice in a row"),
    ):
        changes = {"until_error_percent": 2.0, "error_met": met, "noise_floor_percent": 0.456}
        done = ask(PROFILE, SUMMARY.model_copy(update=changes), "profile")
        told = done.stdout
        assert part in told
        assert done.exit_code == (0 if met else 6)
        assert "repeats of one subnet lie 0.46% from their median" in told


def test_more_is_measured_where_no_predictor_can_be_fitted(ask: Callable[..., Any]) -> None:
    command = "mosdeploy profile --device rpi --budget 8"
    few = SUMMARY.model_copy(update={"card": None, "further_command": command})
    assert ask(PROFILE, few, "profile", "--budget", "5").stderr == f"next: {command}\n"


def test_times_that_are_too_noisy_are_told_in_words(ask: Callable[..., Any]) -> None:
    changes = {"noise_floor_percent": 97.0, "max_noise_percent": 6.0, "device": "local"}
    noisy = SUMMARY.model_copy(update={**changes, "load_1min": 3.62, "cores": 2})
    done = ask(PROFILE, noisy, "profile")
    told = done.stdout.splitlines()[-2:]
    assert told[0].startswith("TOO NOISY: above 6%")
    assert "other programs run on this machine (its load was up to 3.6 on 2 cores)" in told[1]
    assert "next:" not in done.stderr  # no limit can be told from such times
    elsewhere = noisy.model_copy(update={"device": "rpi", "load_1min": None})
    told = ask(PROFILE, elsewhere, "profile").stdout
    assert "other programs run on the device: `top` shows them" in told
    for update in ({"noise_floor_percent": 5.9}, {"emulated": True, "card": None}):
        assert "NOISY" not in ask(PROFILE, noisy.model_copy(update=update), "profile").stdout


def test_an_unknown_noise_floor_is_told(ask: Callable[..., Any]) -> None:
    told = ask(PROFILE, SUMMARY.model_copy(update={"noise_floor_percent": None}), "profile").stdout
    assert "noise floor: not known, since the reference subnet could not be timed twice" in told


def test_boards_of_a_fleet_have_a_line_each(ask: Callable[..., Any]) -> None:
    boards = (
        BoardCalibration(host="pi1", num_subnets=7, reference_ms=100.0, time_ratio=1.05),
        BoardCalibration(host="pi2", num_subnets=0, reference_ms=None, time_ratio=None),
    )
    changes = {"boards": boards, "failed_boards": {"pi3": "no route"}}
    told = ask(PROFILE, SUMMARY.model_copy(update=changes), "profile").stdout
    assert told.splitlines()[-3:] == [
        "pi1: 7 subnets, reference 100 ms, 1.050 of the fleet's",
        "pi2: 0 subnets",
        "pi3 failed: no route",
    ]
