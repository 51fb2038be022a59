"""What each precision costs in quality with trained weights, beside torch and CTranslate2.

    pip install 'mosdeploy[bench]'
    python benchmarks/precision_quality.py --dirs runs/by-hand/*/ --json
    python benchmarks/precision_quality.py --dirs runs/by-hand/*/ --shortlists 0 50 --json

All subnets that were trained alone in the run folders translate test pairs, one at a time. The
table has BLEU less that of torch, its mean and standard deviation over subnets. CTranslate2 knows
one width, one number of heads and no cross span beyond 1, so its means may be over fewer subnets.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean

import ctranslate2_model
import torch
from results import add_result_options, finish, spread
from translation_speed_contenders import Translate, open_session, run_onnx

from mosdeploy.config.translation import TranslationRunConfig
from mosdeploy.export.onnx.builder import write_model
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.scoring import bleu_chrf, translate
from mosdeploy.families.translation.tokenizer import Tokenizer
from mosdeploy.pipeline.exporting.export_job import ExportSource
from mosdeploy.record import Record
from mosdeploy.records import SubnetCard
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import SelectedSubnet, select_subnet
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.translation import TranslationArch, TranslationWorkload
from mosdeploy.storage import read_record

PACKAGES = ("torch", "onnxruntime", "ctranslate2", "sacrebleu")
BEAMS = (1, 5)
Model = tuple[str, int, Translate]


class Row(Record):
    """One model of one subnet: BLEU less torch's, the share of sentences with torch's ids."""

    name: str
    beam: int
    change: float
    same: float
    model_bytes: int


def judged(
    state: TrainedRun, chosen: SelectedSubnet, beam: int, options: argparse.Namespace
) -> Iterator[Row]:
    """Score the translations of one subnet by each model."""
    assert isinstance(state.config, TranslationRunConfig)
    limits = state.config.export
    pairs = state.data.test[: options.pairs]
    tokenizer = Tokenizer(state.files.tokenizer_path)
    sources = tokenizer.encode_many([source for source, _ in pairs])
    references = [target for _, target in pairs]

    def bleu(answers: list[list[int]]) -> float:
        return bleu_chrf([tokenizer.decode(ids) for ids in answers], references)["BLEU"]

    steps, penalty = limits.max_decode_steps, limits.length_penalty
    expected = [translate(chosen.subnet, [ids], beam, steps, penalty)[0] for ids in sources]
    in_torch = bleu(expected)
    for name, model_bytes, run in models(state, chosen, beam, options.shortlists):
        answers = [run(ids) for ids in sources]
        same = sum(a == b for a, b in zip(answers, expected, strict=True)) / len(answers)
        change = bleu(answers) - in_torch
        print(f"{chosen.arch.key[:8]}, beam {beam}, {name}: {change:+.2f}", file=sys.stderr)
        yield Row(name=name, beam=beam, change=change, same=same, model_bytes=model_bytes)


def models(
    state: TrainedRun, chosen: SelectedSubnet, beam: int, shortlists: list[int]
) -> Iterator[Model]:
    """Yield each model with the size of its file."""
    assert isinstance(state.config, TranslationRunConfig)
    limits = state.config.export
    for shortlist, precision in product(shortlists, TranslationWorkload.precisions):
        workload = state.spec.with_workload(beam=beam, precision=precision, shortlist=shortlist)
        exported = ExportSource(state, chosen, workload.workload)
        spec = exported.spec
        graph_options = state.graph_options(spec.workload)
        graph = build_graph(spec, chosen.arch, exported.arrays(), graph_options)
        name = f"`{precision}`" + (f", shortlist {shortlist}" if shortlist else "")
        with tempfile.TemporaryDirectory() as root:
            path = Path(root) / "model.onnx"
            write_model(graph, path)
            run = partial(
                run_onnx, open_session(path, threads=1), max_steps=limits.max_decode_steps
            )
            yield name, path.stat().st_size, run
    assert isinstance(chosen.arch, TranslationArch)
    try:
        ctranslate2_model.num_heads(chosen.arch)
    except ValueError as error:
        print(error, file=sys.stderr)
        return
    search = ctranslate2_model.Search(beam, 0, limits.max_decode_steps, limits.length_penalty)
    num_positions = max(limits.max_source_len + 1, limits.max_decode_steps)
    for compute_type in ("float32", "int8"):
        with tempfile.TemporaryDirectory() as root:
            ctranslate2_model.convert(chosen.subnet, num_positions, compute_type, Path(root))
            translate_ids = ctranslate2_model.open_model(Path(root), compute_type, search, 1)
            size = (Path(root) / "model.bin").stat().st_size
            yield f"CTranslate2 {compute_type}", size, translate_ids


def cells_of(rows: list[Row], name: str) -> list[str]:
    """Return a line of the table: means over subnets."""
    own = {beam: [x for x in rows if (x.name, x.beam) == (name, beam)] for beam in BEAMS}
    greedy = own[1]
    changes = [spread([x.change for x in own[beam]], 2, "+") for beam in BEAMS]
    same = f"{mean(x.same for x in greedy):.1%}"
    size = f"{mean(x.model_bytes for x in greedy) / 1e6:.2f}"
    return [name, str(len(greedy)), *changes, same, size]


def main() -> None:
    """Translate with each model, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dirs", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--pairs", type=int, default=500, help="test pairs, at most")
    parser.add_argument("--shortlists", type=int, nargs="+", default=[0], help="0: none")
    add_result_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for folder in options.dirs:
        for card_path in sorted(folder.glob("subnets/*/subnet.json")):
            card = read_record(SubnetCard, card_path, "mosdeploy finetune")
            state = trained_run(open_run(folder))
            chosen = select_subnet(state, card.arch, card.weights)
            rows += [row for beam in BEAMS for row in judged(state, chosen, beam, options)]
    header = ("model", "subnets", "greedy", "beam 5", "torch's ids, greedy", "file, MB")
    names = dict.fromkeys(row.name for row in rows)
    finish(options, PACKAGES, header, [cells_of(rows, name) for name in names])


if __name__ == "__main__":
    main()
