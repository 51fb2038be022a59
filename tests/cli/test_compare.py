"""`mosdeploy compare`: one table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import ARCH, timed

from mosdeploy.errors import ConfigError, MosdeployError
from mosdeploy.run_folder.options import CompareOptions
from mosdeploy.run_folder.summaries import ComparedBundle, Comparison

FIRST = ComparedBundle(
    name="large",
    precision="fp32",
    arch=ARCH,
    weights="finetuned",
    num_parameters=1000,
    size_bytes=5_000_000,
    measurement=timed(20.0, 21.0),
    metrics={"BLEU": 30.0, "chrF": 50.0},
)
SECOND = FIRST.model_copy(
    update={"name": "small", "measurement": timed(5.0, 6.0).model_copy(update={"flagged": True})}
)
FOUND = Comparison(device="rpi", scored_on="500 test examples", bundles=(FIRST, SECOND))


def test_bundles_are_rows_beside_the_first(ask: Callable[..., Any]) -> None:
    done = ask("compare.compare", FOUND, "compare", "large", "small", "--device", "rpi")
    assert done.arguments[1] == CompareOptions(["large", "small"], "rpi")
    lines = done.stdout.splitlines()
    assert lines[2].split() == ["large", "20.0", "21.0", "1.00", "4.8", "MiB", "30.00", "50.00"]
    assert lines[3].split() == ["small", "5.00*", "6.00", "0.25", "4.8", "MiB", "30.00", "50.00"]
    assert lines[4] == "timed by turns on rpi, scored on 500 test examples"
    assert lines[5].startswith("* the device was not stable")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two.html", "two.svg", "two.PNG"])
def test_a_chart_is_drawn_too(ask: Callable[..., Any], tmp_path: Path, name: str) -> None:
    path = tmp_path / "charts" / name
    done = ask("compare.compare", FOUND, "compare", "large", "small", "--chart", str(path))
    assert done.stdout.splitlines()[2].startswith("large")
    data = path.read_bytes()
    if name.endswith("PNG"):
        assert data.startswith(b"\x89PNG")
    else:
        assert b"large" in data and b"BLEU" in data and b'src="http' not in data


def test_a_chart_that_cannot_be_written_costs_no_table(
    ask: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = list[Comparison]()
    monkeypatch.setattr("mosdeploy.cli.verbs._compare_text", lambda found: f"{shown.append(found)}")
    (tmp_path / "file").write_text("not a folder")
    words = ("compare", "large", "small", "--chart", str(tmp_path / "file" / "two.svg"))
    with pytest.raises(MosdeployError, match=r"two\.svg|file"):
        ask("compare.compare", FOUND, *words)
    assert shown == [FOUND]


@pytest.mark.parametrize("name", ["two", "two.pdf", ".html"])
def test_a_chart_of_another_kind_is_refused_before_anything_is_timed(
    ask: Callable[..., Any], name: str
) -> None:
    with pytest.raises(ConfigError, match=r"must end in one of \.html, \.svg, \.png"):
        ask("compare.compare", None, "compare", "large", "small", "--chart", name)
