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
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import ctranslate2_model
import torch
from provenance import command, versions
from speed_contenders import Translate, open_session, run_onnx

from mosdeploy.config.translation import TranslationRunConfig
from mosdeploy.export.onnx.model import state_arrays, write_model
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.metrics import bleu_chrf
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.tokenizer import Tokenizer
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.trained_run import TrainedRun, trained_run
from mosdeploy.record import Record
from mosdeploy.spaces.translation_arch import TranslationArch
from mosdeploy.spaces.translation_workload import TranslationWorkload
from mosdeploy.storage import write_record

HERE = Path(__file__).parent
SHORTLIST = 50
PACKAGES = ("torch", "onnxruntime", "ctranslate2", "numpy", "sacrebleu")


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
    state = trained_run(open_run(options.dir))
    subnet: TranslationSubnet = state.subnet(expressible(state))
    pairs = state.data.test[: options.pairs]
    tokenizer = Tokenizer(state.files.tokenizer_path)
    sources = tokenizer.encode_many([source for source, _ in pairs])
    references = [target for _, target in pairs]
    rows: list[Row] = []
    for beam in options.beams:
        expected: list[list[int]] = []
        for name, model_bytes, run in models(state, subnet, beam):
            started = time.monotonic()
            answers = [run(ids) for ids in sources]
            expected = expected or answers
            scores = bleu_chrf([tokenizer.decode(ids) for ids in answers], references)
            row = Row(
                name=name,
                beam=beam,
                bleu=scores["BLEU"],
                chrf=scores["chrF"],
                same=sum(a == b for a, b in zip(answers, expected, strict=True)) / len(answers),
                model_bytes=model_bytes,
            )
            rows.append(row)
            print(f"{row} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    outcome = Outcome(
        command=command(),
        versions=versions(PACKAGES),
        supernet_sha256=state.card.supernet_sha256,
        arch=subnet.arch,
        num_parameters=sum(weight.numel() for weight in subnet.parameters()),
        num_pairs=len(pairs),
        rows=tuple(rows),
    )
    write_record(options.out, outcome)
    print(table(outcome))


def expressible(state: TrainedRun) -> TranslationArch:
    """The largest architecture, but with cross spans of 1."""
    largest = state.config.space.largest
    assert isinstance(largest, TranslationArch)
    layers = tuple(layer.model_copy(update={"cross_span": 1}) for layer in largest.decoder_layers)
    return largest.model_copy(update={"decoder_layers": layers})


def models(
    state: TrainedRun, subnet: TranslationSubnet, beam: int
) -> Iterator[tuple[str, int | None, Translate]]:
    """Torch first; each with the size of its file."""
    assert isinstance(state.config, TranslationRunConfig)
    limits = state.config.export
    steps = limits.max_decode_steps
    yield (
        "PyTorch",
        None,
        lambda ids: translate(subnet, [ids], beam, steps, limits.length_penalty)[0],
    )
    search = ctranslate2_model.Search(beam, 0, steps, limits.length_penalty)
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "model.onnx"
        for shortlist, precision in product((0, SHORTLIST), TranslationWorkload.precisions):
            spec = state.spec.with_workload(beam=beam, precision=precision, shortlist=shortlist)
            arrays = state_arrays(subnet.state_dict())
            options = state.graph_options(spec.workload)
            write_model(build_graph(spec, subnet.arch, arrays, options), path)
            session = open_session(path, threads=1)
            name = f"{precision}, shortlist {shortlist}" if shortlist else precision
            yield name, path.stat().st_size, partial(run_onnx, session, max_steps=steps)
        for compute_type in ("float32", "int8"):
            folder = Path(root) / compute_type
            num_positions = max(limits.max_source_len + 1, steps)
            ctranslate2_model.convert(subnet, num_positions, compute_type, folder)
            run = ctranslate2_model.open_model(folder, compute_type, search, threads=1)
            yield f"CTranslate2 {compute_type}", (folder / "model.bin").stat().st_size, run


def table(outcome: Outcome) -> str:
    """Markdown."""
    lines = ["| model | beam | BLEU | chrF | torch's ids | file, MB |", "|---|---|---|---|---|---|"]
    for row in outcome.rows:
        size = f"{row.model_bytes / 1e6:.2f}" if row.model_bytes else "-"
        scores = f"{row.bleu:.2f} | {row.chrf:.2f} | {row.same:.1%}"
        lines.append(f"| {row.name} | {row.beam} | {scores} | {size} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
