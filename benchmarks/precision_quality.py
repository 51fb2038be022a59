"""What each precision costs in quality, with trained weights: BLEU and chrF beside torch and
CTranslate2.

    pip install 'mosdeploy[bench]'
    python benchmarks/precision_quality.py --dir runs/debian-docs

The folder of --dir is a run that is trained (`inherited_quality.py` trains one); it is only read.
The subnet is the largest with cross spans of 1, which CTranslate2 can express too. All translate
the test pairs one at a time, as a device does. It prints the table of docs/results.md and writes
precision_quality.json beside this script.
"""

import argparse
import importlib.metadata
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import ctranslate2_model
import torch

from mosdeploy import pipeline
from mosdeploy.export.bundle import max_positions
from mosdeploy.export.parity import ExportedModel
from mosdeploy.families.translation.decoding import bleu_chrf
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import build_graph, state_arrays, write_model
from mosdeploy.pipeline.train import TrainedRun, trained
from mosdeploy.record import Record
from mosdeploy.spaces.spec import Precision
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.storage import write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "onnxruntime", "ctranslate2", "numpy", "sacrebleu")
Translate = Callable[[Sequence[int]], list[int]]


class Row(Record):
    """One model: `same` is the share of sentences with torch's ids; `model_bytes` is None where it
    writes no file.
    """

    name: str
    beam: int
    bleu: float
    chrf: float
    same: float
    model_bytes: int | None


class Outcome(Record):
    """What precision_quality.json holds."""

    command: str
    versions: dict[str, str]
    supernet_sha256: str
    arch: TranslationArch
    num_parameters: int
    num_pairs: int
    rows: tuple[Row, ...]


def main() -> None:
    """Translate with each, print the table, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dir", type=Path, required=True, help="run folder with a trained supernet"
    )
    parser.add_argument(
        "--beams", type=int, nargs="+", default=[1, 5], help="widths of the beam (1 5)"
    )
    parser.add_argument(
        "--pairs", type=int, default=None, help="so many test pairs; all without it"
    )
    parser.add_argument("--out", type=Path, default=HERE / "precision_quality.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = trained(pipeline.open_run(options.dir))
    subnet = state.subnet(expressible(state.run.config.space.largest))
    pairs = state.corpus.test[: options.pairs]
    sources = state.tokenizer.encode_many([source for source, _ in pairs])
    rows: list[Row] = []
    for beam in options.beams:
        reference: list[list[int]] = []
        for name, model_bytes, translate in models(state, subnet, beam):
            started = time.monotonic()
            answers = [translate(ids) for ids in sources]
            reference = reference or answers
            bleu, chrf = bleu_chrf(
                [state.tokenizer.decode(ids) for ids in answers], [target for _, target in pairs]
            )
            same = sum(a == b for a, b in zip(answers, reference, strict=True)) / len(answers)
            rows.append(
                Row(name=name, beam=beam, bleu=bleu, chrf=chrf, same=same, model_bytes=model_bytes)
            )
            print(f"{rows[-1]} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    outcome = Outcome(
        command=" ".join(["python", "benchmarks/precision_quality.py", *sys.argv[1:]]),
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        supernet_sha256=state.card.supernet_sha256,
        arch=subnet.arch,
        num_parameters=sum(weight.numel() for weight in subnet.parameters()),
        num_pairs=len(pairs),
        rows=tuple(rows),
    )
    write_record(options.out, outcome)
    print(table(outcome))


def expressible(largest: TranslationArch) -> TranslationArch:
    """The same with cross spans of 1."""
    layers = tuple(layer.model_copy(update={"cross_span": 1}) for layer in largest.decoder_layers)
    return largest.model_copy(update={"decoder_layers": layers})


def models(
    state: TrainedRun, subnet: Subnet, beam: int
) -> Iterator[tuple[str, int | None, Translate]]:
    """Torch first; each with the size of its file."""
    yield "PyTorch", None, lambda ids: state.translate(subnet, [list(ids)], beam)[0]
    config = state.run.config.export
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision in get_args(Precision):
            model = build_graph(
                subnet.arch,
                state.run.config.space,
                state.card.vocab_size,
                state_arrays(subnet.state_dict()),
                beam=beam,
                length_penalty=config.length_penalty,
                precision=precision,
                max_positions=max_positions(config),
            )
            path = folder / "model.onnx"
            write_model(model, path)
            yield (
                precision,
                path.stat().st_size,
                partial(_one, ExportedModel(path, config.max_decode_steps)),
            )
        for compute_type in ("float32", "int8"):
            target = folder / compute_type
            quantization = None if compute_type == "float32" else compute_type
            ctranslate2_model.convert(subnet, max_positions(config), quantization, target)
            limits = (1, beam, 0, config.max_decode_steps, config.length_penalty)
            translate = ctranslate2_model.open_model(target, compute_type, *limits)
            yield f"CTranslate2 {compute_type}", (target / "model.bin").stat().st_size, translate


def _one(model: ExportedModel, ids: Sequence[int]) -> list[int]:
    return model.translate([ids])[0]


def table(outcome: Outcome) -> str:
    """Markdown."""
    lines = ["| model | beam | BLEU | chrF | torch's ids | file, MB |", "|---|---|---|---|---|---|"]
    for row in outcome.rows:
        size = f"{row.model_bytes / 1e6:.2f}" if row.model_bytes else "-"
        lines.append(
            f"| {row.name} | {row.beam} | {row.bleu:.2f} | {row.chrf:.2f} | {row.same:.1%} | {size} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
