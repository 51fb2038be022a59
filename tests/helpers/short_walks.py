"""Numbers with which a walk that a user would begin ends in seconds, and devices that are timed
briefly.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder_walking import examples
from walking import PROTOCOL

from mosdeploy.pipeline.init import with_settings

SMALL = {
    "profile.budget": 10,
    "search.population": 8,
    "search.iterations": 1,
    "search.finalists": 2,
    "search.eval_examples": 32,
    "export.parity_examples": 8,
}
TRANSLATION = SMALL | {
    "training.budget": 40,
    "workload.beam": 1,
    # of a small winner many times as many
    "finetune.same_time": False,
}
ENCODER = SMALL | {
    "teacher.steps": 4,
    "training.steps": 4,
    "finetune.steps": 4,
    "export.score_examples": 32,
    "export.max_score_drop": 100.0,  # what nothing was learned of may be lost
}


def shorten(root: Path, settings: Mapping[str, Any]) -> None:
    """Give keys of a run file other values."""
    path = root / "mosdeploy.toml"
    path.write_text(with_settings(path.read_text(), settings))


def write_profiles(folder: Path, *names: str, work_dir: str = "~/.cache/mosdeploy") -> None:
    """Profiles of this machine under the names of devices, whose measuring is brief."""
    folder.mkdir(parents=True)
    for name in names:
        head = f'name = "{name}"\nkind = "local"\nwork_dir = "{work_dir}"\n'
        (folder / f"{name}.toml").write_text(head + PROTOCOL)


def write_reviews(path: Path) -> None:
    """A table of labelled texts."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ("text", "label"))
        table.writeheader()
        table.writerows(examples("classification", 800))
