"""Settings and README of a translation's bundle."""

import shlex
from pathlib import Path
from typing import cast

from ...config.translation import TranslationRunConfig
from ...records import BundleManifest
from ...runtime import Translator, open_model
from ...runtime.translation import TVM_PACKAGES
from ...spaces.translation import TranslationWorkload
from .tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID

_TEMPLATE = """\
# {name}: {source_lang} to {target_lang}

A translation model made by mosdeploy: model, tokenizer and settings.

| | |
|---|---|
| architecture | {arch} |
| parameters | {num_parameters:,} |
| weights | {weights} |
| precision | {precision} |
| beam | {beam} |
| longest source | {max_source_len} tokens; longer lines are translated in parts |
| {metric} on {num_examples} validation sentences | {bundle_score:.2f} \
(the trained network: {torch_score:.2f}) |

{binding}Run it with the package `mosdeploy_runtime`: the folder `mosdeploy/runtime` of mosdeploy, \
copied here under this name (`mosdeploy deploy` brings it to a device). Where mosdeploy is \
installed, `mosdeploy.runtime` does the same:

    pip install numpy {packages} sentencepiece
    printf '%s\\n' {source} | python -m mosdeploy_runtime .
    python -m mosdeploy_runtime . --self-test

The first prints:

    {output}

{providers}Files: {model_files}, `tokenizer.model` (SentencePiece), `manifest.json` \
(what it was made from, the sha256 of each file, sentences with expected answers).
"""

_BINDING = """\
`model.so` is machine code for {processor}: run it only if you trust where this bundle comes from.

"""
_PROVIDERS = """\
It computes on the CPU unless another execution provider of ONNX Runtime is named. On an NVIDIA GPU,
with the package `onnxruntime-gpu` in place of `onnxruntime`:

    python -m mosdeploy_runtime . --provider CUDAExecutionProvider

or in Python `mosdeploy_runtime.open_model(".", providers=["CUDAExecutionProvider"])`.

"""
_PACKAGES = {
    "onnxruntime": "onnxruntime",
    "tvm": TVM_PACKAGES,
}
_MODEL_FILES = {
    "onnxruntime": "`model.onnx` (inputs source_ids, max_steps, min_steps; output output_ids)",
    "tvm": "`model.so` (encoder and decode step), `weights.bin`",
}


def bundle_settings(
    config: TranslationRunConfig, workload: TranslationWorkload, *_: object
) -> dict[str, int | float | str]:
    """Return the settings that the runtime of a translation reads from the manifest."""
    limits = config.export
    return {
        "source_lang": config.corpus.source_lang,
        "target_lang": config.corpus.target_lang,
        "pad_id": PAD_ID,
        "unk_id": UNK_ID,
        "bos_id": BOS_ID,
        "eos_id": EOS_ID,
        "beam": workload.beam,
        "length_penalty": limits.length_penalty,
        "max_source_len": limits.max_source_len,
        "max_decode_steps": limits.max_decode_steps,
    }


def open_bundle(folder: Path, threads: int | None = None, long: str = "cut") -> Translator:
    """Open a bundle with the runtime that devices have, which has no windows for long lines."""
    return cast("Translator", open_model(folder, threads, long=long))


def bundle_readme(manifest: BundleManifest) -> str:
    """The README.md inside a bundle, for people who find the folder on a device."""
    example = manifest.self_test[0]
    parity = manifest.parity
    return _TEMPLATE.format(
        **manifest.settings,
        name=manifest.name,
        arch=manifest.arch,
        num_parameters=manifest.num_parameters,
        weights=manifest.weights,
        precision=manifest.precision,
        metric=parity.metric,
        num_examples=parity.num_examples,
        bundle_score=parity.bundle_score,
        torch_score=parity.torch_score,
        source=shlex.quote(example.input),
        output=example.output,
        binding=_BINDING.format(processor=manifest.processor) if manifest.processor else "",
        providers=_PROVIDERS if manifest.runtime == "onnxruntime" else "",
        packages=_PACKAGES[manifest.runtime],
        model_files=_MODEL_FILES[manifest.runtime],
    )
