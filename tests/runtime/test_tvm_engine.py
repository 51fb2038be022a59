"""Compiled subnets as devices run them; all need apache-tvm."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import SPACE, arrays_of, export_tvm, in_torch, lively_subnet, open_library, spec_of

from mosdeploy.export.tvm import Processor
from mosdeploy.families.translation.tvm import build_tvm
from mosdeploy.runtime import ModelError, open_model
from mosdeploy.runtime.self_test import run_self_test

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

MAX_POSITIONS = 40


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a small subnet."""
    folder = tmp_path_factory.mktemp("small")
    build_tvm(
        spec_of(SPACE),
        SPACE.largest,
        arrays_of(lively_subnet(SPACE)),
        folder,
        max_positions=MAX_POSITIONS,
        processor=Processor(),
    )
    return folder


def test_a_bundle_is_opened_by_its_manifest(tmp_path: Path) -> None:
    model = open_model(export_tvm(tmp_path), threads=1)
    assert model.manifest.runtime == "tvm" and run_self_test(model).passed
    assert model.predict(["the cat.", ""])[1] == ""


def test_threads_may_share_a_model(tmp_path: Path) -> None:
    """In a process of its own: what TVM did without a lock ends it."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from mosdeploy.runtime import open_model\n"
        f"model = open_model({str(export_tvm(tmp_path))!r}, threads=1)\n"
        "lines = ['the cat.', 'a cat and the cat.']\n"
        "expected = model.predict(lines)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    found = list(pool.map(lambda _: model.predict(lines), range(60)))\n"
        "assert found == [expected] * 60\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="asks Linux for processors")
def test_the_process_stays_on_all_processors(tmp_path: Path) -> None:
    script = (
        "import os, sys; from mosdeploy.runtime import open_model; "
        "model = open_model(sys.argv[1], threads=1); model.predict(['the cat.']); "
        "print(sorted(os.sched_getaffinity(0)))"
    )
    environment = {key: x for key, x in os.environ.items() if key != "TVM_BIND_THREADS"}
    command = [sys.executable, "-c", script, str(export_tvm(tmp_path))]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == f"{sorted(os.sched_getaffinity(0))}\n"


def test_a_run_replaces_the_last_id_by_the_end_token(small: Path) -> None:
    engine = open_library(small)
    limit = np.array(12)
    inputs = {"source_ids": np.array([[5, 9, 17, 4]]), "max_steps": limit, "min_steps": limit}
    expected = in_torch(lively_subnet(SPACE), [[5, 9, 17]], 1, 12)
    assert engine.run(inputs) == engine.translate([[5, 9, 17]], 12) == expected


def test_what_is_longer_than_the_table_is_refused(small: Path) -> None:
    engine = open_library(small)
    assert engine.translate([[4] * (MAX_POSITIONS - 1)])
    with pytest.raises(ModelError, match="takes 40 positions, not 41"):
        engine.translate([[4] * MAX_POSITIONS])
    with pytest.raises(ModelError, match="takes 40 positions, not 41"):
        engine.translate([[4]], max_steps=41)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.so", lambda content: b"not a library"),
        ("weights.bin", lambda content: b""),
        ("weights.bin", lambda content: content[: len(content) // 2]),
        ("weights.bin", lambda content: b"\x80\x04N." + content),
    ],
)
def test_damaged_files_are_named(
    small: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "damaged"))
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(ModelError, match=r"TVM .* cannot (load .*model\.so|run)|could not run"):
        open_library(folder).translate([[4]])
