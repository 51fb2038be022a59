"""A run folder small enough to walk through in seconds: 400 made-up pairs, a space of a few hundred
subnets.
"""

import itertools
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mosdeploy
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.records import Deployment
from mosdeploy.run_folder.context import Progress, SilentProgress
from mosdeploy.run_folder.summaries import Part
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace

RUN_FILE = """
device = "local"
[corpus]
format = "text"
train = "data/train"
valid_fraction = 0.1
test_fraction = 0.1
vocab_size = 44
max_tokens = 24
[space]
encoder_embed_dim = [16, 32]
decoder_embed_dim = [16, 32]
encoder_layers = [1, 2]
decoder_layers = [1, 2]
encoder_ffn_dim = [16, 64]
decoder_ffn_dim = [16, 64]
encoder_heads = [2]
decoder_self_heads = [2]
decoder_cross_heads = [2]
cross_span = [1, 2]
qkv_dim = 32
norm = "pre"
[training]
steps = 12
tokens_per_batch = 256
warmup_steps = 4
learning_rate = 5e-3
amp = "none"
threads = 1
validate_every = 6
checkpoint_every = 4
[workload]
source_len = 6
decode_steps = 6
[profile]
budget = 12
[search]
population = 8
iterations = 2
eval_examples = 16
finalists = 2
[export]
max_source_len = 24
max_decode_steps = 16
parity_examples = 8
"""

PROTOCOL = """
[measure]
warmup = 1
min_time_s = 0.0
max_time_s = 0.1
reference_every = 4
max_drift_percent = 1e6  # no machine is too busy for a test
"""

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
ZAHLEN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]


def write_corpus(folder: Path) -> None:
    """Pairs of three numbers, every combination once."""
    folder.mkdir(parents=True, exist_ok=True)
    triples = list(itertools.product(range(10), repeat=3))[::2]
    (folder / "train.en").write_text(
        "".join(" ".join(NUMBERS[i] for i in t) + "\n" for t in triples)
    )
    (folder / "train.de").write_text(
        "".join(" ".join(ZAHLEN[i] for i in t) + "\n" for t in triples)
    )


def make_run_folder(root: Path) -> Path:
    """A run folder whose local device works in the folder itself, not in the home of whoever runs
    the tests.
    """
    write_corpus(root / "data")
    (root / "mosdeploy.toml").write_text(RUN_FILE)
    (root / "device_profiles").mkdir()
    (root / "device_profiles" / "local.toml").write_text(
        f'name = "local"\nkind = "local"\nwork_dir = "{root / "device"}"\n' + PROTOCOL
    )
    return root


def opened(root: Path, progress: Progress | None = None) -> mosdeploy.RunFolder:
    """A run folder for whoever has no ssh_config."""
    return mosdeploy.open_run(root, progress=progress, ssh_config=root / "no-ssh-config")


def part(root: Path, what: str) -> Part:
    """What `status` tells of the first part of that kind."""
    return next(x for x in opened(root).status().parts if x.what == what)


def deployment_of(root: Path) -> Deployment:
    """What stands on this machine."""
    return read_record(Deployment, Workspace(root).deployment_path("local"), "mosdeploy deploy")


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that stands in a file once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def change_data(root: Path) -> None:
    """Other training pairs."""
    path = root / "data" / "train.en"
    path.write_text(path.read_text().replace("one two", "two one"))


def change_workload(root: Path) -> None:
    """Longer sentences."""
    edit(root / "mosdeploy.toml", "source_len = 6", "source_len = 7")


def copy_trained(walked: Path, root: Path) -> Path:
    """Copy what was trained in a walked run folder; the copy knows no device."""
    root.mkdir()
    for name in ("data", "supernet"):
        shutil.copytree(walked / name, root / name)
    shutil.copy(walked / "mosdeploy.toml", root)
    edit(root / "mosdeploy.toml", 'device = "local"\n', "")
    return root


def damage(path: Path) -> None:
    """Change the first byte of a file."""
    path.write_bytes(b"#" + path.read_bytes()[1:])


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def set_age(path: Path, ages: Mapping[int, timedelta]) -> None:
    """Date back the records of a dataset, by their place."""
    first, *lines = lines_of(path)
    records = [json.loads(line) for line in lines]
    for place, age in ages.items():
        then = datetime.now(UTC) - age
        records[place]["measured_at"] = then.isoformat(timespec="seconds")
    path.write_text("\n".join([first, *map(json.dumps, records)]) + "\n")


class KeptProgress(SilentProgress):
    """Progress that keeps what it is told; it can stop a verb at an update, as Ctrl-C does."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.messages: list[str] = []
        self.updates: list[tuple[str, str]] = []
        self.stop_at = stop_at

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.updates.append((stage, note))
        if done == self.stop_at:
            raise KeyboardInterrupt

    def say(self, message: str) -> None:
        self.messages.append(message)


def add_device(folder: Path, name: str) -> LatencyPredictor:
    """The predictor of this machine as that of another device, twice as slow."""
    files = Workspace(folder)
    own = LatencyPredictor.load(files.predictor_path("local", "sentence"))
    slower = {key: 2 * x for key, x in own.coefficients.items()}
    other = own.model_copy(update={"device": name, "coefficients": slower})
    other.save(files.predictor_path(name, "sentence"))
    return other
