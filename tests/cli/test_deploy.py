"""`mosdeploy deploy`: forwards, back, and what is told of the time there."""

from collections.abc import Callable
from typing import Any

from answers import deployment

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import Measurement, Timing
from mosdeploy.run_folder.options import DeployOptions


def test_a_deployment_is_told_with_its_limit(ask: Callable[..., Any]) -> None:
    words = ("--device", "rpi@pi2", "--bundle", "b", "--strict")
    done = ask("deploy.deploy", deployment(), "deploy", *words)
    assert done.arguments[1] == DeployOptions("rpi@pi2", "b")
    assert done.stdout == (
        "en-de-small on pi2:/home/pi/mosdeploy: self-test passed, 122 ms median, 122 ms p90, "
        "limit 150 ms kept\n"
    )
    # there was no search that a report could be about
    assert done.stderr == "next: mosdeploy train\n"


def test_a_limit_on_the_tail_is_held_to_the_tail(ask: Callable[..., Any]) -> None:
    done = deployment(limit_ms=122.0, statistic="p90")
    assert ask("deploy.deploy", done, "deploy").stdout.endswith(
        "p90, limit 122 ms (p90) NOT kept (122.5 ms)\n"
    )
    median = deployment(limit_ms=122.0)
    told = ask("deploy.deploy", median, "deploy").stdout
    assert told.endswith("p90, limit 122 ms kept (121.5 ms)\n")
    assert (done.limit_kept, median.limit_kept) == (False, True)


def test_times_of_an_emulation_keep_no_limit(ask: Callable[..., Any]) -> None:
    device = DeviceProfile(name="rpi", emulated=True)
    told = ask("deploy.deploy", deployment(device=device), "deploy").stdout
    assert told.endswith("122 ms p90, emulated: not a latency\n")
    untimed = deployment(measurement=Measurement(error="out of memory"))
    assert ask("deploy.deploy", untimed, "deploy").stdout.endswith("passed, not timed\n")


def test_a_limit_on_the_99th_percentile_stands_beside_it(ask: Callable[..., Any]) -> None:
    total = Timing(median_ms=12.0, p90_ms=20.0, p99_ms=35.0, minimum_ms=11.0, repeats=10)
    done = deployment(measurement=Measurement(total=total), limit_ms=20.0, statistic="p99")
    told = ask("deploy.deploy", done, "deploy").stdout
    assert told.endswith("12.0 ms median, 20.0 ms p90, 35.0 ms p99, limit 20 ms (p99) NOT kept\n")
