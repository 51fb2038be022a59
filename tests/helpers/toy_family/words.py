"""The words of the toy: architectures, a space, a workload, what they cost, a run file."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mosdeploy.config.sections import RunConfig
from mosdeploy.record import Record
from mosdeploy.spaces.genes import ArchConfig, Choices, Gene
from mosdeploy.spaces.spec import (
    CostedSpace,
    FloatArray,
    Inventory,
    Product,
    StageInput,
    TimingStage,
    Workload,
)


class CipherLayer(Record):
    hidden: int = Field(gt=0)


class CipherArch(ArchConfig):
    family: Literal["cipher"] = "cipher"
    width: int = Field(gt=0)
    layers: tuple[CipherLayer, ...] = Field(min_length=1)

    def __str__(self) -> str:
        return f"width {self.width} [{' '.join(str(layer.hidden) for layer in self.layers)}]"


class CipherWorkload(Workload):
    family: Literal["cipher"] = "cipher"
    name: str = "line"
    num_letters: int = Field(8, ge=1)


class CipherSpace(CostedSpace):
    table: ClassVar[tuple[Gene, ...]] = (
        Gene("width"),
        Gene("depth", stack="layers"),
        Gene("hidden", stack="layers", field="hidden"),
    )
    arch_type: ClassVar[type[ArchConfig]] = CipherArch
    layer_types: ClassVar[dict[str, type[Record]]] = {"layers": CipherLayer}
    mean_order: ClassVar[tuple[str, ...]] = ("width", "depth", "hidden")
    feature_names: ClassVar[tuple[str, ...]] = ("constant", "layers", "ffn_macs", "logits_macs")
    num_core_features: ClassVar[int] = 3
    overhead_features: ClassVar[tuple[str, ...]] = ("constant", "layers")

    family: Literal["cipher"] = "cipher"
    width: Choices
    depth: Choices
    hidden: Choices

    def inventory(self, arch: ArchConfig, vocab_size: int, workload: Workload) -> Inventory:
        rows = workload.num_letters
        products = []
        for i, layer in enumerate(arch.layers):
            products += [
                Product(f"layers.{i}.fc1", "encoder", rows, arch.width, layer.hidden),
                Product(f"layers.{i}.fc2", "encoder", rows, layer.hidden, arch.width),
            ]
        products.append(Product("logits", "encoder", rows, arch.width, vocab_size, "shared"))
        return Inventory(tuple(products), (), table_parts=(arch.width,), vocab_size=vocab_size)

    def latency_features(self, sums: FloatArray, vocab_size: int, workload: Workload) -> FloatArray:
        width, depth, hidden = sums.T
        rows = workload.num_letters
        ffn = (2e-6 * rows) * width * hidden
        logits = (1e-6 * rows * vocab_size) * width
        return np.stack([np.ones(len(sums)), depth, ffn, logits], axis=1)

    def timing_stages(self, vocab_size: int, workload: Workload) -> tuple[TimingStage, ...]:
        ids = StageInput(name="input_ids", shape=(1, workload.num_letters), low=1, high=vocab_size)
        return (TimingStage(name="total", inputs=(ids,)),)


class LettersConfig(Record):
    path: str
    max_letters: int = Field(12, ge=1)
    alphabet: str = "abcdefgh"


class CipherRunConfig(RunConfig):
    family: Literal["cipher"] = "cipher"
    letters: LettersConfig
    space: CipherSpace
    workload: CipherWorkload = CipherWorkload()

    @property
    def vocab_size(self) -> int:
        return 1 + len(self.letters.alphabet)

    @property
    def max_tokens(self) -> int:
        return self.letters.max_letters

    @property
    def title(self) -> str:
        return "cipher"
