"""MetaSchedule over one small layer; needs apache-tvm."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

SCRIPT = """
import sys
from pathlib import Path
import tvm
from mosdeploy.export.tvm import Tuning, tuning
from mosdeploy.export.tvm.kernels import LinearShape, layer_norm, linear
from mosdeploy.export.tvm.library import make_target

# a round that ends in seconds
tuning.TRIALS_A_ROUND, tuning.POPULATION = 2, 8

def module():
    return tvm.IRModule({
        "linear": linear(LinearShape(1, 1, 128, 128, 32, 128, False)),
        "any_length": linear(LinearShape(None, 8, 128, 128, 32, 128, False)),
        "norm": layer_norm(1, 1, 128, 1e-5),
    })

if __name__ == "__main__":
    budget_s, machine = float(sys.argv[2]), sys.argv[3]
    run = Tuning(Path(sys.argv[1]), 8, 1, budget_s)
    target = make_target(machine, None)
    database = tuning.tune(module(), target, run, lambda _, note: print(note, flush=True))
    print("records:", len(database), flush=True)
"""


def start(folder: Path, budget_s: float) -> "subprocess.Popen[str]":
    import platform

    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder), str(budget_s), platform.machine()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(900)
def test_a_killed_search_goes_on_with_its_records(tmp_path: Path) -> None:
    with start(tmp_path / "tuning", 100_000.0) as first:
        assert first.stdout is not None
        found = first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    assert found.startswith("1 x 128 x 128: ") and found.endswith(" us\n")
    (folder,) = (tmp_path / "tuning").iterdir()
    records = folder / "records.jsonl"
    before = records.read_bytes()
    assert before.count(b"\n") == 1, "the untuned schedule is measured first"
    records.write_bytes(before + b'[0, [[[["torn')
    (account,) = folder.glob("spent-*.json")
    spent_s = json.loads(account.read_text())["seconds"]
    assert spent_s > 0

    begin = time.monotonic()
    output, _ = start(tmp_path / "tuning", spent_s + 0.5).communicate()
    assert records.read_bytes().startswith(before)
    assert json.loads(account.read_text())["seconds"] <= spent_s + time.monotonic() - begin
    num_records = records.read_bytes().count(b"\n")
    assert int(output.rpartition("records: ")[2]) == num_records > 1

    content = records.read_bytes()
    output, _ = start(tmp_path / "tuning", spent_s).communicate()
    assert output.startswith("records: ") and records.read_bytes() == content, (
        "what is spent is spent"
    )
