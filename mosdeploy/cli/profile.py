"""The verb `profile`."""

from typing import TYPE_CHECKING

import typer

from ..printable import EMULATED, milliseconds, three_digits
from ..run_folder.options import ProfileOptions
from .options import Common
from .printing import card_line, rescaled_lines

if TYPE_CHECKING:
    from ..run_folder.summaries import ProfileSummary


def profile(common: Common, options: ProfileOptions) -> None:
    """Measure a few well-chosen subnets on the device.

    A rerun measures only what is missing or failed. Exit code 6 if --until-error is not reached.
    """
    from ..errors import PredictorError
    from ..pipeline.profile import profile as measure

    context = common.context()
    result = measure(context, options)
    is_trusted = bool(result.fastest_ms) and not (result.emulated or result.is_too_noisy)
    then = result.further_command or (context if is_trusted else None)
    common.show(result, _text(result), then)
    if result.error_met is False:
        raise typer.Exit(PredictorError.exit_code)


def _text(result: "ProfileSummary") -> str:
    counts = f"{result.measured_now} measured now, {result.num_records} in {result.path}"
    lines = [f"{result.device}: {counts}"]
    if result.failed:
        lines[0] += f", {result.failed} failed"
    if not result.emulated and result.fastest_ms and result.slowest_ms:
        lines.append(f"from {three_digits(result.fastest_ms)} to {milliseconds(result.slowest_ms)}")
    if result.card is not None:
        lines.append(f"predictor (cross-validated): {card_line(result.card)}")
        lines += rescaled_lines(result.card)
    if result.emulated:
        lines.append(f"{EMULATED}: nothing is fitted to these times, and no search takes them")
    if result.noise_floor_percent is not None:
        lines.append(
            f"noise floor: repeats of one subnet lie {result.noise_floor_percent:.2f}% from their "
            "median"
        )
    elif not result.emulated and result.fastest_ms:
        lines.append(
            "noise floor: not known, since the reference subnet could not be timed twice; whether "
            "the device was disturbed meanwhile is not known either"
        )
    if result.until_error_percent is not None:
        limit = f"{result.until_error_percent:g}% (over the subnets that the fit trusts)"
        met = f"an error of {limit} is reached"
        missed = f"the budget is spent; an error of {limit} is NOT reached twice in a row"
        lines.append(met if result.error_met else missed)
    return "\n".join(lines + _board_lines(result) + _noise_lines(result))


def _noise_lines(result: "ProfileSummary") -> list[str]:
    """Why the times mean nothing, and how to get better ones, if they are too far apart."""
    if not result.is_too_noisy:
        return []
    place = "this machine" if result.device == "local" else "the device"
    load = ""
    if result.load_1min is not None:
        load = f" (its load was up to {result.load_1min:.1f} on {result.cores or '?'} cores)"
    return [
        f"TOO NOISY: above {result.max_noise_percent:g}% neither the times nor the predictor can "
        "be trusted",
        f"most likely other programs run on {place}{load}: `top` shows them. Stop them, and run "
        "the same command with --renew",
    ]


def _board_lines(result: "ProfileSummary") -> list[str]:
    """The boards of a fleet: how many subnets, the reference and its ratio to the fleet's."""
    lines = []
    for board in result.boards:
        reference = ""
        if board.time_ratio is not None:
            ratio = f"{board.time_ratio:.3f} of the fleet's"
            reference = f", reference {milliseconds(board.reference_ms)}, {ratio}"
        lines.append(f"{board.host}: {board.num_subnets} subnets{reference}")
    return lines + [f"{host} failed: {cause}" for host, cause in result.failed_boards.items()]
