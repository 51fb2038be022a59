"""What each precision costs in quality, with trained weights: BLEU and chrF beside torch and
CTranslate2.

    pip install 'mosdeploy[bench]'
    python benchmarks/precision_quality.py --dirs runs/by-hand-en-de/*/ --json

All subnets that were trained alone in the run folders of --dirs (`by_hand.py` trains some); the
folders are only read. Each translates pairs one at a time, as a device does. CTranslate2 knows one
width, one number of heads and no cross span beyond 1, so its means may be over fewer subnets.
--json writes precision_quality.json beside this script.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import ctranslate2_model
import torch
from provenance import Provenance, provenance, result_path
from speed_contenders import Translate, open_session, run_onnx

from mosdeploy.config.translation import TranslationRunConfig
from mosdeploy.export.onnx.builder import write_model
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.scoring import bleu_chrf
from mosdeploy.families.translation.tokenizer import Tokenizer
from mosdeploy.pipeline.exporting.export_job import ExportSource
from mosdeploy.record import Record
from mosdeploy.records import SubnetCard
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import SelectedSubnet, select_subnet
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.translation import TranslationArch, TranslationWorkload
from mosdeploy.storage import read_record, write_record

PACKAGES = ("torch", "onnxruntime", "ctranslate2", "numpy", "sacrebleu")
TORCH = "PyTorch"


class Row(Record):
    """One model: `same` is the share of sentences with torch's ids; `model_bytes` is None where it
    writes no file.
    """

    subnet: str
    num_parameters: int
    split: str
    name: str
    beam: int
    bleu: float
    chrf: float
    same: float
    model_bytes: int | None


class Outcome(Provenance):
    """What precision_quality.json holds."""

    num_pairs: int
    rows: tuple[Row, ...]


def main() -> None:
    """Translate with each, print the table, keep the result."""
    options = parse_options()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for folder in options.dirs:
        for card_path in sorted(folder.glob("subnets/*/subnet.json")):
            card = read_record(SubnetCard, card_path, "mosdeploy finetune")
            state = trained_run(open_run(folder))
            chosen = select_subnet(state, card.arch, card.weights)
            for split, beam in product(options.splits, options.beams):
                rows += judged(state, chosen, split, beam, options)
    outcome = Outcome(**provenance(PACKAGES), num_pairs=options.pairs, rows=tuple(rows))
    if options.json:
        write_record(result_path("precision_quality", options.label), outcome)
    print(table(outcome))


def parse_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dirs", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--splits", nargs="+", choices=("valid", "test"), default=["test"])
    parser.add_argument("--pairs", type=int, default=500, help="of a split, at most")
    parser.add_argument("--shortlists", type=int, nargs="+", default=[0], help="0: none")
    parser.add_argument("--json", action="store_true", help="keep the result")
    parser.add_argument("--label", default="", help="ends the name of what is kept")
    return parser.parse_args()


def judged(
    state: TrainedRun, chosen: SelectedSubnet, split: str, beam: int, options: argparse.Namespace
) -> Iterator[Row]:
    """Translations of one subnet by each model, scored."""
    pairs = (state.data.valid if split == "valid" else state.data.test)[: options.pairs]
    tokenizer = Tokenizer(state.files.tokenizer_path)
    sources = tokenizer.encode_many([source for source, _ in pairs])
    references = [target for _, target in pairs]
    expected: list[list[int]] = []
    root = state.files.root
    for name, model_bytes, run in models(state, chosen, beam, options.shortlists):
        started = time.monotonic()
        answers = [run(ids) for ids in sources]
        expected = expected or answers
        scores = bleu_chrf([tokenizer.decode(ids) for ids in answers], references)
        row = Row(
            subnet=f"{'/'.join(root.parts[-2:])}/{chosen.arch.key[:8]}-{chosen.weights}",
            num_parameters=state.spec.num_parameters(chosen.arch),
            split=split,
            name=name,
            beam=beam,
            bleu=scores["BLEU"],
            chrf=scores["chrF"],
            same=sum(a == b for a, b in zip(answers, expected, strict=True)) / len(answers),
            model_bytes=model_bytes,
        )
        print(f"{row} in {time.monotonic() - started:.0f} s", file=sys.stderr)
        yield row


Model = tuple[str, int | None, Translate]


def models(
    state: TrainedRun, chosen: SelectedSubnet, beam: int, shortlists: list[int]
) -> Iterator[Model]:
    """Torch first; each with the size of its file."""
    assert isinstance(state.config, TranslationRunConfig)
    limits = state.config.export
    steps = limits.max_decode_steps
    penalty = limits.length_penalty
    yield TORCH, None, lambda ids: translate(chosen.subnet, [ids], beam, steps, penalty)[0]
    for shortlist, precision in product(shortlists, TranslationWorkload.precisions):
        workload = {"beam": beam, "precision": precision, "shortlist": shortlist}
        name = f"`{precision}`" + (f", shortlist {shortlist}" if shortlist else "")
        yield ours(state, chosen, workload, name)
    assert isinstance(chosen.arch, TranslationArch)
    try:
        ctranslate2_model.num_heads(chosen.arch)
    except ValueError as error:
        print(error, file=sys.stderr)
        return
    search = ctranslate2_model.Search(beam, 0, steps, penalty)
    for compute_type in ("float32", "int8"):
        with tempfile.TemporaryDirectory() as root:
            num_positions = max(limits.max_source_len + 1, steps)
            ctranslate2_model.convert(chosen.subnet, num_positions, compute_type, Path(root))
            run = ctranslate2_model.open_model(Path(root), compute_type, search, threads=1)
            size = (Path(root) / "model.bin").stat().st_size
            yield f"CTranslate2 {compute_type}", size, run


def ours(
    state: TrainedRun, chosen: SelectedSubnet, workload: Mapping[str, object], name: str
) -> Model:
    """Our graph in ONNX Runtime."""
    assert isinstance(state.config, TranslationRunConfig)
    source = ExportSource(state, chosen, state.spec.with_workload(**workload).workload)
    spec = source.spec
    graph = build_graph(spec, chosen.arch, source.arrays(), state.graph_options(spec.workload))
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "model.onnx"
        write_model(graph, path)
        session = open_session(path, threads=1)
        size = path.stat().st_size
    run = partial(run_onnx, session, max_steps=state.config.export.max_decode_steps)
    return name, size, run


def table(outcome: Outcome) -> str:
    """Markdown: means over subnets, of BLEU with the standard deviation."""
    lines = ["| model | split | beam | subnets | BLEU - torch's | torch's ids | file, MB |"]
    lines.append("|---|---|---|---|---|---|---|")
    in_torch = {(x.subnet, x.split, x.beam): x.bleu for x in outcome.rows if x.name == TORCH}
    for name, split, beam in dict.fromkeys((x.name, x.split, x.beam) for x in outcome.rows):
        rows = [x for x in outcome.rows if (x.name, x.split, x.beam) == (name, split, beam)]
        changes = [x.bleu - in_torch[x.subnet, split, beam] for x in rows]
        spread = f" ± {stdev(changes):.2f}" if len(changes) > 1 else ""
        same = mean(x.same for x in rows)
        sizes = [x.model_bytes for x in rows if x.model_bytes is not None]
        size = f"{mean(sizes) / 1e6:.2f}" if sizes else "-"
        change = f"{mean(changes):+.2f}{spread}"
        lines.append(
            f"| {name} | {split} | {beam} | {len(rows)} | {change} | {same:.1%} | {size} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
