"""Names of the files in a run folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from .storage import listed

SUBNET_NAME = "subnet.safetensors"
SUBNET_CARD_NAME = "subnet.json"
CONFIG_NAME = "mosdeploy.toml"
LATENCY_NAME = "latency.jsonl"
PREDICTOR_NAME = "predictor.json"
PREDICTORS = "predictors"
LOG_NAME = "log.jsonl"
CHECKPOINT_NAME = "checkpoint.pt"
NEW_SUFFIX = "-new"


@dataclass(frozen=True)
class Workspace:
    """The files of one run, by name."""

    root: Path
    suffix: str = ""

    @property
    def beside(self) -> Self:
        """The same run with the folder of a new supernet."""
        return replace(self, suffix=NEW_SUFFIX)

    @property
    def supernet_dir(self) -> Path:
        return self.root / f"supernet{self.suffix}"

    @property
    def config_path(self) -> Path:
        return self.root / CONFIG_NAME

    @property
    def tokenizer_path(self) -> Path:
        return self.supernet_dir / "tokenizer.model"

    @property
    def trimmed_tokenizer_path(self) -> Path:
        return self.tokenizer_path.with_name("trimmed-tokenizer.model")

    @property
    def data_card_path(self) -> Path:
        return self.supernet_dir / "data.json"

    @property
    def checkpoint_path(self) -> Path:
        return self.supernet_dir / CHECKPOINT_NAME

    def budget_path(self, inputs_sha256: str) -> Path:
        return self.supernet_dir / f"budget-{inputs_sha256[:8]}.json"

    @property
    def supernet_path(self) -> Path:
        return self.supernet_dir / "supernet.safetensors"

    @property
    def supernet_card_path(self) -> Path:
        return self.supernet_dir / "supernet.json"

    @property
    def teacher_dir(self) -> Path:
        return self.root / "teacher"

    @property
    def training_log_path(self) -> Path:
        return self.supernet_dir / LOG_NAME

    @property
    def predictors_dir(self) -> Path:
        return self.root / PREDICTORS

    def predictor_dir(self, device: str, workload: str) -> Path:
        return self.predictors_dir / f"{device}-{workload}"

    def latency_path(self, device: str, workload: str) -> Path:
        return self.predictor_dir(device, workload) / LATENCY_NAME

    def predictor_path(self, device: str, workload: str) -> Path:
        return self.predictor_dir(device, workload) / PREDICTOR_NAME

    @property
    def quality_path(self) -> Path:
        return self.root / "search" / "quality.jsonl"

    def verified_path(self, device: str, workload: str) -> Path:
        return self.root / "search" / f"{device}-{workload}.jsonl"

    def timed_again_path(self, device: str, workload: str) -> Path:
        return self.root / "search" / "again" / f"{device}-{workload}.jsonl"

    @property
    def search_result_path(self) -> Path:
        return self.root / "search" / "result.json"

    @property
    def subnets_dir(self) -> Path:
        return self.root / "subnets"

    def subnet_path(self, arch_key: str, weights: str) -> Path:
        return self.subnets_dir / f"{arch_key}-{weights}" / SUBNET_NAME

    def subnet_card_path(self, arch_key: str, weights: str) -> Path:
        return self.subnet_path(arch_key, weights).with_name(SUBNET_CARD_NAME)

    def subnet_checkpoint_path(self, arch_key: str, weights: str) -> Path:
        return self.subnet_path(arch_key, weights).with_name(CHECKPOINT_NAME)

    def subnet_log_path(self, arch_key: str, weights: str) -> Path:
        return self.subnet_path(arch_key, weights).with_name(LOG_NAME)

    @property
    def scores_path(self) -> Path:
        """Of the workload of the run file."""
        return self.root / "scores.json"

    def other_scores_path(self, label: str) -> Path:
        """Of another workload, by its label: `-beam5`."""
        return self.root / f"scores{label}.json"

    @property
    def bundles_dir(self) -> Path:
        return self.root / "bundles"

    @property
    def newest_bundle_path(self) -> Path:
        return self.bundles_dir / ".newest"

    @property
    def formats_dir(self) -> Path:
        return self.root / "formats"

    def precisions_path(self, name: str) -> Path:
        return self.root / "precisions" / f"{name}.json"

    @property
    def deployments_dir(self) -> Path:
        return self.root / "deployments"

    def deployment_path(self, device: str, host: str | None = None) -> Path:
        return self.deployments_dir / (
            f"{device}.json" if host is None else f"{device}@{host}.json"
        )

    def begun_rollback_path(self, device: str, host: str | None = None) -> Path:
        """What a rollback notes before it switches, until it is recorded."""
        return self.deployment_path(device, host).with_suffix(".rollback")

    def deployed_to(self) -> list[tuple[str, str | None]]:
        """Device and host of each deployment, sorted."""
        names = sorted(x.stem.partition("@") for x in listed(self.deployments_dir, "*.json"))
        return [(device, host or None) for device, _, host in names]

    @property
    def report_dir(self) -> Path:
        return self.root / "report"

    @property
    def report_page_path(self) -> Path:
        return self.report_dir / "index.html"

    @property
    def report_path(self) -> Path:
        return self.report_dir / "report.json"


def tokens_path(folder: Path, split: str) -> Path:
    """Where the token ids of a split lie for as long as a training runs in a folder."""
    return folder / f"tokens-{split}.npy"
