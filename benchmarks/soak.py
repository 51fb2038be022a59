"""What a hundred kills leave behind: every verb of a walk is ended by SIGKILL at a random moment
and run again, and the outcome compared with that of a walk that nobody disturbed.

    python benchmarks/soak.py --kills 100 --json

A walk is train, profile, search, finetune, export and deploy of a small model on this machine. Each
verb is killed once, somewhere within the time that it took undisturbed; every other time its agent
on the device is killed too. Then the same command runs to its end. Compared are the weights, the
winner, the bundle and what is deployed; counted are measurements that were lost or made twice, and
the files that the undisturbed walk has not, in the run folder and on the device. A killed run goes
on with the same command. --json writes soak.json beside this script.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from results import add_result_options, finish
from walk_cells import kept

from mosdeploy import init
from mosdeploy.record import Record
from mosdeploy.storage import read_lines

HEADER = (
    "walks",
    "kills",
    "results that differ",
    "measurements lost",
    "made twice",
    "files left over",
)
PACKAGES = ("torch", "onnxruntime", "scikit-learn")
VERBS: dict[str, tuple[str, ...]] = {
    "train": (),
    "profile": ("--device", "local"),
    # the winner by parameters: measured times would choose another one each time
    "search": ("--device", "local", "--max-parameters", "900k", "--no-verify"),
    "finetune": (),
    "export": (),
    "deploy": ("--device", "local"),
}
SMALLER = {
    # a trial may choose otherwise each time, and nothing else would differ
    "[training]\n": '[training]\namp = "none"\n',
    "steps = 150 ": "steps = 40 ",
    "validate_every = 75": "validate_every = 10",
    "warmup_steps = 25": "warmup_steps = 5",
    "steps = 1000": "steps = 40",
    "budget = 20": "budget = 6",
    "iterations = 8": "iterations = 3",
    "population = 32": "population = 16",
}
PROFILE = """name = "local"
kind = "local"
work_dir = "{work_dir}"

[measure]
rounds = 2
min_repeats = 10
max_repeats = 12
"""
IGNORED = ("log.jsonl", "sessions.jsonl")


class Walk(Record):
    """One disturbed walk beside the undisturbed one.

    `lost` and `repeated` count measurements, `left` names files that should not be there.
    """

    kills: int
    differs: tuple[str, ...]
    lost: int
    repeated: int
    left: tuple[str, ...]


def main() -> None:
    """Walk undisturbed once, then disturbed until there were enough kills; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=Path("soak"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    add_result_options(parser)
    options = parser.parse_args()
    reference = options.dir.absolute() / "undisturbed"
    times = options.dir / "seconds.json"
    if not times.exists():
        make_folder(reference)
        times.write_text(json.dumps({verb: run(reference, verb) for verb in VERBS}))
    seconds = json.loads(times.read_text())
    walks = list[Walk]()
    while sum(walk.kills for walk in walks) < options.kills:
        number = len(walks)
        cell = options.dir / f"walks-{options.seed}" / f"{number}.json"
        walks.append(
            kept(cell, Walk, partial(disturbed_walk, reference, number, seconds, options.seed))
        )
        print(walks[-1], file=sys.stderr, flush=True)
    row = (
        len(walks),
        sum(walk.kills for walk in walks),
        sum(len(walk.differs) for walk in walks),
        sum(walk.lost for walk in walks),
        sum(walk.repeated for walk in walks),
        sum(len(walk.left) for walk in walks),
    )
    finish(options, PACKAGES, HEADER, [[str(x) for x in row]], [options.seed])


def make_folder(root: Path) -> None:
    """A run folder of the demo's recipe, made smaller, whose device is a folder in it."""
    shutil.rmtree(root, ignore_errors=True)
    init(root, "tiny", "local")
    path = root / "mosdeploy.toml"
    text = path.read_text()
    for old, new in SMALLER.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)
    (root / "device_profiles").mkdir()
    profile = PROFILE.format(work_dir=root / "device")
    (root / "device_profiles" / "local.toml").write_text(profile)


def words(root: Path, verb: str) -> list[str]:
    """The command of a verb."""
    return [sys.executable, "-m", "mosdeploy", "--quiet", verb, "-C", str(root), *VERBS[verb]]


def run(root: Path, verb: str) -> float:
    """Run a verb to its end; returns its seconds."""
    start = time.monotonic()
    done = subprocess.run(words(root, verb), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{verb} in {root} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - start


def disturbed_walk(reference: Path, number: int, seconds: dict[str, float], seed: int) -> Walk:
    """Kill each verb once, run it again, compare."""
    root = reference.with_name(f"walk-{number}")
    make_folder(root)
    rng = random.Random(f"{seed} {number}")
    kills = 0
    for verb in VERBS:
        process = subprocess.Popen(
            words(root, verb), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, seconds[verb]))
        kills += process.poll() is None
        process.kill()
        process.wait()
        if rng.random() < 0.5:
            kill_agents(root / "device")
        run(root, verb)
    expected, found = facts(reference), facts(root)
    measured = measurements(root)
    walk = Walk(
        kills=kills,
        differs=tuple(name for name in expected if found.get(name) != expected[name]),
        lost=len(set(measurements(reference)) - set(measured)),
        repeated=sum(count - 1 for count in measured.values()),
        left=tuple(sorted(files(root) - files(reference))),
    )
    if not (walk.differs or walk.lost or walk.repeated or walk.left):
        shutil.rmtree(root)
    return walk


def kill_agents(device: Path) -> None:
    """Kill whatever measures in a device's folder."""
    for path in device.glob("jobs/*/pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(path.read_text().split()[0]), signal.SIGKILL)


def facts(root: Path) -> dict[str, object]:
    """What a walk must come to, whatever disturbed it."""
    subnet = json.loads(next(root.glob("subnets/*/subnet.json")).read_text())
    manifest = json.loads(next(root.glob("bundles/*/manifest.json")).read_text())
    result = json.loads((root / "search" / "result.json").read_text())
    deployed = json.loads((root / "deployments" / "local.json").read_text())
    supernet = json.loads((root / "supernet" / "supernet.json").read_text())
    return {
        "supernet": supernet["supernet_sha256"],
        "winner": result["winner"]["arch"],
        "winner's loss": result["winner"]["loss"],
        "subnet": subnet["subnet_sha256"],
        "files of the bundle": manifest["sha256"],
        "deployed": deployed["bundle"],
    }


def measurements(root: Path) -> Counter[str]:
    """How often each architecture stands in the profile."""
    rows = read_lines(next(root.glob("predictors/*/latency.jsonl")))[0]
    records = (json.loads(row) for row in rows)
    return Counter(json.dumps(x["arch"], sort_keys=True) for x in records if "arch" in x)


def files(root: Path) -> set[str]:
    """Files of a run folder and of its device; of names that differ from run to run, the folder."""
    found = set()
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_file() and path.name not in IGNORED:
            changing = parts[:2] in (("device", "jobs"), ("device", "bundles"))
            found.add("/".join((*parts[:2], "*", *parts[3:]) if changing else parts))
    return found


if __name__ == "__main__":
    main()
