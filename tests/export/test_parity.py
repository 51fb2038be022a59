from pathlib import Path

import pytest
from networks import VOCAB_SIZE, small_space

from mosdeploy.config.sections import ExportConfig
from mosdeploy.errors import ExportError
from mosdeploy.export.parity import ExportedModel, ParitySet, check_parity
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import build_graph, state_arrays

CONFIG = ExportConfig(max_source_len=10, max_decode_steps=12, max_score_drop=0.5)
SOURCE_IDS = [[4 + (7 * i + k) % 8 for k in range(1 + i % 5)] for i in range(40)]


def pairs(subnet: Subnet, bleu=lambda texts: 100.0) -> ParitySet:
    return ParitySet(
        sources=[str(ids) for ids in SOURCE_IDS],
        source_ids=SOURCE_IDS,
        reference=lambda sources: translate(
            subnet, sources, 1, CONFIG.max_decode_steps, CONFIG.length_penalty
        ),
        decode=str,
        bleu=bleu,
    )


@pytest.fixture(scope="module")
def model(trained_subnet: Subnet, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    path: Path = tmp_path_factory.mktemp("parity") / "model.onnx"
    arrays = state_arrays(trained_subnet.state_dict())
    settings = {"beam": 1, "length_penalty": 0.6, "precision": "fp32", "max_positions": 12}
    path.write_bytes(
        build_graph(
            small_space().largest, small_space(), VOCAB_SIZE, arrays, **settings
        ).SerializeToString()
    )
    return ExportedModel(path, CONFIG.max_decode_steps)


def other_subnet(subnet: Subnet) -> Subnet:
    """The same but for one bias."""
    other = Subnet(small_space().largest, small_space(), VOCAB_SIZE).eval()
    state = {name: tensor.clone() for name, tensor in subnet.state_dict().items()}
    state["decoder.norm.bias"] += state["embed.weight"][5]
    other.load_state_dict(state)
    return other


def test_the_same_network_is_equal_in_every_id(
    model: ExportedModel, trained_subnet: Subnet
) -> None:
    report = check_parity(model, pairs(trained_subnet), CONFIG, "fp32")
    assert (report.num_pairs, report.identical) == (40, 40)


def test_answers_come_back_in_order(model: ExportedModel, trained_subnet: Subnet) -> None:
    seen: list[list[str]] = []
    check_parity(
        model, pairs(trained_subnet, lambda texts: float(bool(seen.append(texts)))), CONFIG, "fp32"
    )
    assert seen[0] == seen[1] and len(set(seen[0])) > 10


def test_fp32_must_be_equal(model: ExportedModel, trained_subnet: Subnet) -> None:
    with pytest.raises(
        ExportError, match=r"translates \d+ of 40 .* differently from torch; the first is"
    ):
        check_parity(model, pairs(other_subnet(trained_subnet)), CONFIG, "fp32")


@pytest.mark.parametrize(("drop", "passes"), [(0.5, True), (0.51, False), (-3.0, True)])
def test_int8_may_lose_so_much_bleu(
    model: ExportedModel, trained_subnet: Subnet, drop: float, passes: bool
) -> None:
    scores = iter([30.0, 30.0 - drop])
    check = pairs(other_subnet(trained_subnet), lambda texts: next(scores))
    if passes:
        report = check_parity(model, check, CONFIG, "int8")
        assert report.torch_bleu == 30.0 and report.identical < 40
    else:
        with pytest.raises(ExportError, match=r"int8 costs 0\.51 BLEU"):
            check_parity(model, check, CONFIG, "int8")


def test_a_model_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match="does not load"):
        ExportedModel(tmp_path / "model.onnx", 5)
