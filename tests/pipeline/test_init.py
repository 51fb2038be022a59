"""New run files, from recipes."""

from pathlib import Path

import pytest

import mosdeploy
from mosdeploy.errors import ConfigError


def test_a_new_run_file_is_written_once(tmp_path: Path) -> None:
    run = mosdeploy.init(tmp_path, device="rpi")
    assert (run.root, run.config.device) == (tmp_path, "rpi")
    with pytest.raises(ConfigError, match=r"mosdeploy\.toml exists already; edit it"):
        mosdeploy.init(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "huge"}, "unknown recipe 'huge'; known: .*tiny"),
        ({"device": "rpy"}, "unknown device 'rpy'; did you mean 'rpi'"),
    ],
)
def test_a_run_file_of_nothing_known_is_not_written(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        mosdeploy.init(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
