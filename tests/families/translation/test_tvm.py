"""Subnets compiled with TVM, for this machine and for aarch64; all need apache-tvm."""

import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from export_fixtures import space, trained_subnet  # noqa: F401
from networks import MAX_POSITIONS, VOCAB_SIZE, lively_subnet, make_space, random_sources

from mosdeploy.errors import ArchError, ExportError
from mosdeploy.export.quantize import LARGEST_CODE, quantize_columns
from mosdeploy.export.tvm import Processor, build_tvm
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import state_arrays
from mosdeploy.runtime.errors import ModelError
from mosdeploy.runtime.manifest import Manifest
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

LENGTHS = (1, 2, 7, 8, 9, 15, 23)
MAX_STEPS = 30


def build(subnet: Subnet, space: TranslationSpace, folder: Path, **changed: object) -> None:
    settings = {
        "beam": 1,
        "precision": "fp32",
        "max_positions": MAX_POSITIONS,
        "processor": Processor(),
        **changed,
    }
    arrays = state_arrays(subnet.state_dict())
    build_tvm(subnet.arch, space, VOCAB_SIZE, arrays, folder=folder, **settings)


def open_library(folder: Path, beam: int = 1, max_source_len: int = MAX_POSITIONS - 1):
    from mosdeploy.runtime.tvm_engine import TvmEngine

    manifest = Manifest(
        name="random",
        runtime="tvm",
        precision="fp32",
        beam=beam,
        length_penalty=0.6,
        pad_id=0,
        bos_id=2,
        eos_id=3,
        vocab_size=VOCAB_SIZE,
        max_source_len=max_source_len,
        max_decode_steps=MAX_STEPS,
        self_tests=(),
        sha256={},
    )
    return TvmEngine(folder, manifest, threads=1)


@pytest.mark.parametrize("beam", [1, 3])
def test_it_translates_as_torch_does(space: TranslationSpace, beam: int, tmp_path: Path) -> None:
    arch = space.sample(np.random.default_rng(7 + beam))
    subnet, sources = lively_subnet(arch, space, 5), random_sources(LENGTHS, 5)
    build(subnet, space, tmp_path, beam=beam)
    expected = translate(subnet, sources, beam, MAX_STEPS, 0.6)
    assert open_library(tmp_path, beam).translate(sources) == expected
    assert len({tuple(ids) for ids in expected}) > 3, "the test needs answers that differ"


def test_every_span_and_the_wider_encoder(tmp_path: Path) -> None:
    space = make_space("pre")
    layers = tuple(
        layer.model_copy(update={"cross_span": span, "cross_heads": heads})
        for layer, span, heads in zip(space.largest.decoder_layers, (3, 2), (1, 3), strict=True)
    )
    arch = space.largest.model_copy(update={"decoder_layers": layers})
    assert arch.encoder_embed_dim > arch.decoder_embed_dim
    subnet, sources = lively_subnet(arch, space, 1), random_sources(LENGTHS, 1)
    build(subnet, space, tmp_path)
    assert open_library(tmp_path).translate(sources) == translate(
        subnet, sources, 1, MAX_STEPS, 0.6
    )


def test_a_limit_that_fills_no_tile(space: TranslationSpace, tmp_path: Path) -> None:
    """The positions of a source are computed eight at a time: what lies behind the table must not
    be read.
    """
    subnet, sources = lively_subnet(space.largest, space, 1), random_sources((35, 36), 1)
    build(subnet, space, tmp_path, max_positions=37)
    with (tmp_path / "weights.bin").open("rb") as file:
        assert np.load(file).shape[0] == 40
    assert open_library(tmp_path).translate(sources) == translate(
        subnet, sources, 1, MAX_STEPS, 0.6
    )


def rounded(subnet: Subnet, space: TranslationSpace) -> Subnet:
    """The subnet with the weights that int8 codes stand for."""
    copy = Subnet(subnet.arch, space, VOCAB_SIZE).eval()
    state = {name: weight.clone() for name, weight in subnet.state_dict().items()}
    for name, weight in state.items():
        if weight.dim() == 2:
            codes, scales = quantize_columns(weight.numpy().T, LARGEST_CODE)
            state[name] = torch.tensor(codes * scales).T.contiguous()
    copy.load_state_dict(state)
    return copy


def test_int8_translates_as_torch_does_with_rounded_weights(
    space: TranslationSpace, tmp_path: Path
) -> None:
    subnet, sources = lively_subnet(space.largest, space, 2), random_sources(LENGTHS, 2)
    build(subnet, space, tmp_path, precision="int8")
    found = open_library(tmp_path).translate(sources)
    assert found == translate(rounded(subnet, space), sources, 1, MAX_STEPS, 0.6)
    assert found != translate(subnet, sources, 1, MAX_STEPS, 0.6), (
        "the test needs weights that rounding changes"
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the smallest subnet."""
    space, folder = make_space("post"), tmp_path_factory.mktemp("small")
    build(lively_subnet(space.smallest, space, 0), space, folder)
    return folder


def test_logits_are_torch_s_to_a_ten_thousandth(small: Path) -> None:
    space = make_space("post")
    subnet, (source,) = lively_subnet(space.smallest, space, 0), random_sources([11], 0)
    tokens = [2, *random_sources([6], 1)[0]]
    step = open_library(small)._start(source)
    found = [step(np.array([token], np.int32), np.zeros(1, np.int32))[0] for token in tokens]
    with torch.inference_mode():
        expected = subnet(torch.tensor([[*source, 3]]), torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(np.stack(found), expected, rtol=1e-4, atol=1e-4)


def test_what_is_longer_than_the_position_table_is_refused(small: Path) -> None:
    engine = open_library(small)
    assert engine.translate([[4] * (MAX_POSITIONS - 1)])
    with pytest.raises(ModelError, match="takes 40 positions, not 41"):
        engine.translate([[4] * MAX_POSITIONS])
    with pytest.raises(ModelError, match="takes 40 positions, not 41"):
        engine.translate([[4]], max_steps=41)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.so", lambda content: b"not a library"),
        ("weights.bin", lambda content: b""),
        ("weights.bin", lambda content: content[: len(content) // 2]),
        ("weights.bin", lambda content: b"\x80\x04N." + content),
    ],
)
def test_damaged_files_are_named(
    small: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "damaged"))
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(ModelError, match=r"TVM .* cannot (load .*model\.so|run)|could not run"):
        open_library(folder).translate([[4]])


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None, reason="no cross compiler for aarch64"
)
def test_a_library_for_the_pi_is_an_aarch64_elf(tmp_path: Path) -> None:
    space = make_space("post")
    subnet = lively_subnet(space.smallest, space, 0)
    build(subnet, space, tmp_path, processor=Processor("aarch64", "cortex-a72"))
    header = (tmp_path / "model.so").read_bytes()[:20]
    assert (
        header[:5] == b"\x7fELF\x02" and int.from_bytes(header[18:20], "little") == 183
    )  # 64 bits, EM_AARCH64
    with pytest.raises(ModelError, match="cannot load"):
        open_library(tmp_path)


def test_what_cannot_be_built_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = make_space("pre")
    subnet = lively_subnet(space.smallest, space, 0)
    with pytest.raises(ExportError, match="can be fp32 or int8, not int4"):
        build(subnet, space, tmp_path, precision="int4")
    with pytest.raises(ExportError, match="not for 'riscv64'"):
        build(subnet, space, tmp_path, processor=Processor("riscv64"))
    with pytest.raises(ExportError, match="knows no aarch64 processor 'skylake'"):
        build(subnet, space, tmp_path, processor=Processor("aarch64", "skylake"))
    wide: TranslationArch = subnet.arch.model_copy(update={"encoder_embed_dim": 24})
    with pytest.raises(ArchError, match="encoder_embed_dim is 24"):
        build_tvm(
            wide,
            space,
            VOCAB_SIZE,
            {},
            beam=1,
            precision="fp32",
            max_positions=9,
            processor=Processor(),
            folder=tmp_path,
        )
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        ExportError, match=rf"for {platform.machine()}; run: sudo apt-get install g\+\+"
    ):
        build(subnet, space, tmp_path)
