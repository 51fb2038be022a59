"""What a page takes for granted: run folders whose commands end in seconds, bundles, a device."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from encoder_walking import TASK, examples, make_encoder_folder
from pages import Typist, make_home
from short_walks import shorten, write_profiles
from walking import edit, make_run_folder, opened

SETTINGS = {
    # for a teacher whose translations count, and a front of more than three subnets
    "training.steps": 120,
    "finetune.steps": 40,
    "search.population": 40,
    "search.iterations": 3,
    "export.max_score_drop": 100.0,  # what int8 loses of so little depends on the processor
}


def make_readers_home(folder: Path) -> Path:
    """A home folder where this machine has the names of all devices that the pages name."""
    home = make_home(folder / "home")
    profiles = home / ".config" / "mosdeploy" / "device_profiles"
    write_profiles(profiles, "local", "rpi", "xeon", "newboard")
    return home


def make_untrained(root: Path) -> Path:
    """A run folder with a corpus, which knows no device."""
    make_run_folder(root)
    shutil.rmtree(root / "device_profiles")
    edit(root / "mosdeploy.toml", 'device = "local"\n', "")
    shorten(root, SETTINGS)
    return root


def make_searched(folder: Path) -> Path:
    """Beside a home, a run folder that was trained, and searched for `rpi`."""
    make_readers_home(folder)
    root = make_untrained(folder / "en-de")
    type_also(
        root,
        "mosdeploy train",
        "mosdeploy profile --device rpi",
        "mosdeploy search --device rpi --max-latency 150ms",
    )
    return root


def in_a_folder_of_texts(folder: Path) -> Path:
    """Where a run of texts without labels was searched, beside a task that has them."""
    root = make_encoder_folder(folder.parent / "texts", "masked-lm")
    task = root / "runs" / "sst2"
    (task / "data").mkdir(parents=True)
    lines = [json.dumps(row) for row in examples("classification")]
    (task / "data" / "labelled.jsonl").write_text("\n".join(lines) + "\n")
    (task / "mosdeploy.toml").write_text(f'supernet_from = "../.."\n{TASK}')
    run = opened(root)
    run.train()
    run.search(max_parameters=10**9, verify=False)
    return root


def with_two_bundles(folder: Path) -> None:
    """Bundles of the winner under the names that the page gives them."""
    type_also(folder, "mosdeploy export", "mosdeploy export --precision int8")
    for precision in ("fp32", "int8"):
        (made,) = (folder / "bundles").glob(f"en-de-*-{precision}-beam1")
        shutil.copytree(made, made.with_name(f"en-de-1a2b3c4d-{precision}-beam1"))


def deployed_within(limit: str) -> Callable[[Path], None]:
    """Deploys the newest bundle, which is held to that limit."""

    def deploy(folder: Path) -> None:
        (told,) = type_also(folder, "mosdeploy deploy")
        assert f"limit {limit} kept" in told, told

    return deploy


def type_also(folder: Path, *commands: str) -> list[str]:
    """Type commands that are not on the page, in a folder beside the home; what each printed."""
    page = folder.parent / "also.md"
    page.write_text("".join(f"    {command}\n" for command in commands))
    return list(Typist(folder.parent / "home", folder).type_page(page).values())
