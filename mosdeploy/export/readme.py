"""The README.md inside a bundle, for people who find the folder on a device."""

from ..records import BundleManifest

_TEMPLATE = """\
# {name}: {source_lang} to {target_lang}

A translation model made by mosdeploy. Everything it needs is in this folder.

| | |
|---|---|
| architecture | {arch} |
| parameters | {num_parameters:,} |
| weights | {weights} |
| precision | {precision} |
| beam | {beam} |
| longest source | {max_source_len} pieces; longer lines are translated in parts |
| BLEU on {num_pairs} validation sentences | {bundle_bleu:.2f} (the trained network: {torch_bleu:.2f}) |

{binding}Run it where `mosdeploy_runtime` was copied to, or where mosdeploy is installed (then `mosdeploy.runtime`):

    pip install numpy {packages} sentencepiece
    echo "{source}" | python -m mosdeploy_runtime .
    python -m mosdeploy_runtime . --self-test

The first prints:

    {output}

Files: {model_files}, `tokenizer.model` (SentencePiece), `manifest.json` (what it was made from, the sha256 of each
file, sentences with expected answers).
"""


_BINDING = """\
`model.so` is machine code for {processor}: run it only if you trust where this bundle comes from.

"""
_PACKAGES = {
    "onnxruntime": "onnxruntime",
    "tvm": "'apache-tvm>=0.27,<0.28' 'apache-tvm-ffi<0.1.15'",
}
_MODEL_FILES = {
    "onnxruntime": "`model.onnx` (inputs source_ids, max_steps, min_steps; output output_ids)",
    "tvm": "`model.so` (encoder and decode step), `weights.bin`",
}


def bundle_readme(manifest: BundleManifest) -> str:
    """Write the text from a manifest (its hashes may still be missing)."""
    example, parity = manifest.self_test[0], manifest.parity
    return _TEMPLATE.format(
        **manifest.model_dump(exclude={"arch", "parity"}),
        arch=manifest.arch,
        num_pairs=parity.num_pairs,
        bundle_bleu=parity.bundle_bleu,
        torch_bleu=parity.torch_bleu,
        source=_for_shell(example.source),
        output=example.output,
        binding=_BINDING.format(processor=manifest.processor) if manifest.processor else "",
        packages=_PACKAGES[manifest.runtime],
        model_files=_MODEL_FILES[manifest.runtime],
    )


def _for_shell(text: str) -> str:
    return "".join("\\" + character if character in '"\\$`' else character for character in text)
