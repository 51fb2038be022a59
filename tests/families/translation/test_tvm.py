"""Subnets compiled with TVM, for this machine and for aarch64; all need apache-tvm."""

import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import (
    arrays_of,
    in_torch,
    lively_subnet,
    new_subnet,
    open_library,
    random_sources,
    spec_of,
)
from example_spaces import uneven_space
from torch import nn

from mosdeploy.errors import ExportError
from mosdeploy.export.bundle import BuiltModel
from mosdeploy.export.quantize import LARGEST_CODE, quantize_columns
from mosdeploy.export.tvm import Processor, fill_tiles
from mosdeploy.families.translation.tvm import build_tvm
from mosdeploy.runtime.errors import ModelError
from mosdeploy.spaces.translation import TranslationSpace

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

LENGTHS = (1, 2, 7, 8, 9, 15, 23)
MAX_POSITIONS = 40
MAX_STEPS = 30
HERE = Processor()


@pytest.fixture(params=["pre", "post"])
def space(request: pytest.FixtureRequest) -> TranslationSpace:
    return uneven_space(request.param)


def build(
    subnet: nn.Module,
    space: TranslationSpace,
    folder: Path,
    precision: str = "fp32",
    beam: int = 1,
    max_positions: int = MAX_POSITIONS,
    processor: Processor = HERE,
) -> BuiltModel:
    return build_tvm(
        spec_of(space, precision=precision, beam=beam),
        subnet.arch,
        arrays_of(subnet),
        folder,
        max_positions=max_positions,
        processor=processor,
    )


@pytest.mark.parametrize("beam", [1, 3])
def test_it_translates_as_torch_does(space: TranslationSpace, beam: int, tmp_path: Path) -> None:
    arch = space.sample(np.random.default_rng(7 + beam))
    subnet = lively_subnet(space, arch, seed=5)
    sources = random_sources(LENGTHS, 5)
    assert build(subnet, space, tmp_path, beam=beam).runtime == "tvm"
    expected = in_torch(subnet, sources, beam, MAX_STEPS)
    assert open_library(tmp_path, beam).translate(sources) == expected
    assert len({tuple(ids) for ids in expected}) > 3, "the test needs answers that differ"


def test_every_span_and_the_wider_encoder(tmp_path: Path) -> None:
    space = uneven_space("pre")
    layers = tuple(
        layer.model_copy(update={"cross_span": span, "cross_heads": heads})
        for layer, span, heads in zip(space.largest.decoder_layers, (3, 2), (1, 3), strict=True)
    )
    arch = space.largest.model_copy(update={"decoder_layers": layers})
    assert arch.encoder_embed_dim > arch.decoder_embed_dim
    subnet = lively_subnet(space, arch, seed=1)
    sources = random_sources(LENGTHS, 1)
    build(subnet, space, tmp_path)
    found = open_library(tmp_path).translate(sources)
    assert found == in_torch(subnet, sources, 1, MAX_STEPS)


def test_a_limit_that_fills_no_tile(space: TranslationSpace, tmp_path: Path) -> None:
    """The positions of a source are computed eight at a time: what lies behind the table must not
    be read.
    """
    subnet = lively_subnet(space, seed=1)
    sources = random_sources((35, 36), 1)
    build(subnet, space, tmp_path, max_positions=37)
    with (tmp_path / "weights.bin").open("rb") as file:
        assert np.load(file).shape[0] == 40
    found = open_library(tmp_path).translate(sources)
    assert found == in_torch(subnet, sources, 1, MAX_STEPS)


def rounded(subnet: nn.Module, space: TranslationSpace) -> nn.Module:
    """The subnet with the weights that int8 codes stand for."""
    copy = new_subnet(subnet.arch, space)
    state = {name: weight.clone() for name, weight in subnet.state_dict().items()}
    for name, weight in state.items():
        if weight.dim() == 2:
            codes, scales = quantize_columns(weight.numpy().T, LARGEST_CODE)
            state[name] = torch.tensor(codes * scales).T.contiguous()
    copy.load_state_dict(state)
    return copy


def test_int8_translates_as_torch_with_rounded_weights(
    space: TranslationSpace, tmp_path: Path
) -> None:
    subnet = lively_subnet(space, seed=2)
    sources = random_sources(LENGTHS, 2)
    build(subnet, space, tmp_path, precision="int8")
    found = open_library(tmp_path).translate(sources)
    assert found == in_torch(rounded(subnet, space), sources, 1, MAX_STEPS)
    assert found != in_torch(subnet, sources, 1, MAX_STEPS), (
        "the test needs weights that rounding changes"
    )


def test_logits_are_torch_s_to_a_ten_thousandth(tmp_path: Path) -> None:
    space = uneven_space("post")
    subnet = lively_subnet(space, space.smallest, seed=0)
    build(subnet, space, tmp_path)
    (source,) = random_sources([11], 0)
    tokens = [2, *random_sources([6], 1)[0]]
    step = open_library(tmp_path)._start(source)
    found = [step(np.array([token], np.int32), np.zeros(1, np.int32))[0] for token in tokens]
    with torch.inference_mode():
        expected = subnet(torch.tensor([[*source, 3]]), torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(np.stack(found), expected, rtol=1e-4, atol=1e-4)


# -- another processor -----------------------------------------------------------------------------


ANY_CPU = {"x86_64": "x86-64", "aarch64": "generic"}


def test_another_processor_has_a_twin_for_here(tmp_path: Path) -> None:
    space = uneven_space("post")
    subnet = lively_subnet(space, space.smallest, seed=0)
    folder = tmp_path / "new"
    folder.mkdir()
    machine = platform.machine()
    built = build(subnet, space, folder, processor=Processor(machine, ANY_CPU[machine]))
    assert built.processor == f"{machine} {ANY_CPU[machine]}"
    assert built.checked_folder is not None and built.checked_folder.parent == tmp_path
    assert (folder / "model.so").read_bytes() != (built.checked_folder / "model.so").read_bytes()
    sources = random_sources(LENGTHS, 3)
    found = open_library(built.checked_folder).translate(sources)
    assert found == in_torch(subnet, sources, 1, MAX_STEPS)


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None, reason="no cross compiler for aarch64"
)
def test_a_library_for_the_pi_is_an_aarch64_elf(tmp_path: Path) -> None:
    space = uneven_space("post")
    subnet = lively_subnet(space, space.smallest, seed=0)
    folder = tmp_path / "new"
    folder.mkdir()
    build(subnet, space, folder, processor=Processor("aarch64", "cortex-a72"))
    header = (folder / "model.so").read_bytes()[:20]
    assert header[:5] == b"\x7fELF\x02"  # 64 bits
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64
    with pytest.raises(ModelError, match="cannot load"):
        open_library(folder)


# -- bad input -------------------------------------------------------------------------------------


def test_what_cannot_be_built_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = uneven_space("pre")
    subnet = lively_subnet(space, space.smallest, seed=0)
    with pytest.raises(ExportError, match="can be fp32 or int8, not int4"):
        build(subnet, space, tmp_path, precision="int4")
    with pytest.raises(ExportError, match="not for 'riscv64'"):
        build(subnet, space, tmp_path, processor=Processor("riscv64"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    message = rf"for {platform.machine()}; run: sudo apt-get install g\+\+"
    with pytest.raises(ExportError, match=message):
        build(subnet, space, tmp_path)


@pytest.mark.parametrize(("length", "filled"), [(1, 8), (8, 8), (9, 16), (30, 32)])
def test_tiles_are_filled(length: int, filled: int) -> None:
    assert fill_tiles(length) == filled
