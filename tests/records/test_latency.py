"""Lines that 0.1.0 wrote are what users have measured: they load."""

import json
from typing import Any

import pytest
from example_spaces import SMALL_ARCH

from mosdeploy.errors import ConfigError
from mosdeploy.record import parse
from mosdeploy.records import (
    BoardCalibration,
    DeviceState,
    LatencyContext,
    LatencyRecord,
    Measurement,
    PredictorCard,
    RowBlock,
    SessionRecord,
    Timing,
)
from mosdeploy.spaces.translation_arch import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
)
from mosdeploy.spaces.translation_workload import TranslationWorkload

CONTEXT_0_1_0 = """
{"version":1,"dataset_id":"507fdbb39ee44e0492dcbb4e6ba99f24","device":{"name":"local",
"description":"This machine.","kind":"local","host":null,"python":"python3",
"work_dir":"~/.cache/mosdeploy","provider":"CPUExecutionProvider",
"requirements":["numpy","onnxruntime","sentencepiece"],"machine":null,"llvm_cpu":null,
"wheel_platform":null,"wheel_python":null,"connect_timeout_s":10.0,"command_timeout_s":60.0,
"emulated":false,"precisions":["fp32","fp32-int4-logits","int8","int8-int4-logits","int4"],
"measure":{"visits":3,"warmup":3,"min_repeats":10,"max_repeats":200,"precision_percent":2.0,
"min_effort_s":0.3,"effort_s":0.5,"reference_every":5,"max_drift_percent":2.0,"pin":true,
"candidate_timeout_s":120.0}},"workload":{"name":"sentence","source_len":20,"decode_steps":20,
"beam":1,"threads":1,"precision":"fp32"},
"space_sha256":"362c4c7f24ea9c9da42e46b34e5bdc96601c9ad45255cb23abf292d84983edc5",
"vocab_size":1000}
"""

RECORD_0_1_0 = """
{"arch":{"encoder_embed_dim":128,"decoder_embed_dim":96,
"encoder_layers":[{"ffn_dim":96,"heads":4}],
"decoder_layers":[{"ffn_dim":96,"self_heads":4,"cross_heads":2,"cross_span":1}]},
"measurement":{"total":{"median_ms":0.79139225,"p90_ms":0.8795012499999999,"p99_ms":0.95143277,
"minimum_ms":0.737546,"repeats":400,"interval_percent":0.4919567768773855,
"cpu_ms":0.7929167500000001},"encoder":{"median_ms":0.125131,"p90_ms":0.14756350000000001,
"p99_ms":0.2131819199999999,"minimum_ms":0.11038,"repeats":400,
"interval_percent":2.1334667191618752,"cpu_ms":0.12609375},"decoder":{"median_ms":0.66725625,
"p90_ms":0.740646,"p99_ms":0.7947103199999999,"minimum_ms":0.5386249999999999,"repeats":400,
"interval_percent":0.5125240225728049,"cpu_ms":0.66786075},"load_ms":35.150245499991684,
"peak_memory_bytes":86376448,"error":null,"drift_percent":0.6218605019759349,"flagged":false,
"visits":2,"attempts":3},"runtime":"onnxruntime 1.32.0",
"measured_at":"2026-11-25T15:25:44+00:00","session":"6c4d1691"}
"""

SESSION_0_1_0 = """
{"version":1,"session":"6c4d1691","started_at":"2026-11-25T15:24:57+00:00","host":"local",
"emulated":false,"state":{"reachable":true,"machine":"x86_64",
"cpu_model":"Intel(R) Xeon(R) Processor","cpu_features":["avx2","avx512_vnni"],"cores":2,
"memory_bytes":25276502016,"memory_available_bytes":24550572032,"swap_used_bytes":0,
"disk_free_bytes":84636041216,"governor":null,"frequency_mhz":2600.0,"frequencies_mhz":[],
"temperature_c":null,"throttled":null,"load_1min":1.748046875,"gpu":null,
"python_version":"3.11.7","numpy_version":"2.4.6","onnxruntime_version":"1.32.0",
"sentencepiece_version":"0.2.3","tvm_version":null,
"providers":["AzureExecutionProvider","CPUExecutionProvider"],"provider_error":null},
"after":null,"references":[{"measured_at":"2026-11-25T15:24:58.259+00:00",
"total":{"median_ms":1.0287185,"p90_ms":1.1318521,"p99_ms":1.17458524,"minimum_ms":0.992887,
"repeats":140,"interval_percent":0.48458348906916876,"cpu_ms":1.0319669999999999}}]}
"""

CARD_0_1_0 = """
{"version":1,"device":"rpi","workload":"wmt14-ende","space_sha256":"ae55","dataset_sha256":"28d7",
"num_samples":1876,"num_rejected":167,"uses_mlp":false,"mape_percent":0.84,
"within_5_percent":98.6,"within_10_percent":99.6,"kendall_tau":0.97,"trusted_mape_percent":0.67,
"runtime":"PyTorch","source":"HAT","licence":"MIT",
"left_out":[{"start":0,"stop":124,"level":1.4254}],
"boards":[{"host":"pi2","num_subnets":12,"reference_ms":105.0,"level":1.05}],"transfer":null}
"""


def load(model: Any, line: str) -> Any:
    return parse(model, json.loads(line), "a line of 0.1.0")


def there_and_back(record: Any) -> Any:
    return parse(type(record), json.loads(record.model_dump_json()), "a line")


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (LatencyContext, CONTEXT_0_1_0),
        (LatencyRecord, RECORD_0_1_0),
        (SessionRecord, SESSION_0_1_0),
        (PredictorCard, CARD_0_1_0),
    ],
)
def test_what_was_read_is_written_and_read_again(model: Any, line: str) -> None:
    record = load(model, line)
    assert there_and_back(record) == record


def test_a_context_keeps_its_protocol_and_workload() -> None:
    context = load(LatencyContext, CONTEXT_0_1_0)
    measure = context.device.measure
    assert (measure.rounds, measure.min_time_s, measure.max_time_s) == (3, 0.3, 0.5)
    assert measure.cpu_affinity
    assert context.workload == TranslationWorkload(source_len=20, decode_steps=20)


def test_a_record_keeps_its_stages_as_parts() -> None:
    record = load(LatencyRecord, RECORD_0_1_0)
    assert record.arch == TranslationArch(
        encoder_embed_dim=128,
        decoder_embed_dim=96,
        encoder_layers=(EncoderLayerConfig(ffn_dim=96, heads=4),),
        decoder_layers=(DecoderLayerConfig(ffn_dim=96, self_heads=4, cross_heads=2, cross_span=1),),
    )
    measurement = record.measurement
    medians = {name: timing.median_ms for name, timing in measurement.parts.items()}
    assert medians == {"encoder": 0.125131, "decoder": 0.66725625}
    assert measurement.total.median_ms == 0.79139225
    assert (measurement.rounds, measurement.attempts) == (2, 3)


def test_a_session_keeps_its_packages() -> None:
    session = load(SessionRecord, SESSION_0_1_0)
    assert session.state.packages == {
        "numpy": "2.4.6",
        "onnxruntime": "1.32.0",
        "sentencepiece": "0.2.3",
    }
    assert session.state.cpu_features == ("avx2", "avx512_vnni")
    assert session.after is None
    assert [reference.total.repeats for reference in session.references] == [140]


def test_tvm_is_known_by_its_name_on_pypi() -> None:
    state = load(DeviceState, '{"reachable":true,"tvm_version":"0.27.0"}')
    assert state.packages == {"apache-tvm": "0.27.0"}


def test_a_card_keeps_its_time_ratios() -> None:
    card = load(PredictorCard, CARD_0_1_0)
    assert card.left_out == (RowBlock(start=0, stop=124, time_ratio=1.4254),)
    board = BoardCalibration(host="pi2", num_subnets=12, reference_ms=105.0, time_ratio=1.05)
    assert card.boards == (board,)
    assert "level" not in card.model_dump_json()


def test_a_failure_of_0_1_0_is_still_a_failure() -> None:
    line = '{"total":null,"encoder":null,"decoder":null,"error":"out of memory"}'
    measurement = load(Measurement, line)
    assert measurement == Measurement(error="out of memory")
    assert measurement.parts == {}


def test_lines_of_today_there_and_back() -> None:
    timing = Timing(median_ms=2.0, p90_ms=2.5, minimum_ms=1.5, repeats=10)
    record = LatencyRecord(
        arch=SMALL_ARCH,
        measurement=Measurement(total=timing, parts={"layers": timing}, rounds=3),
        runtime="onnxruntime",
        measured_at="2026-01-01T00:00:00+00:00",
        session="0123",
    )
    assert there_and_back(record) == record
    state = DeviceState(cpu_features=("neon",), frequencies_mhz=(600.0,), packages={"numpy": "2"})
    assert there_and_back(state) == state


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Measurement, {"encoder": {}, "speed": 1}, "unknown key 'speed'"),
        (Measurement, {"encoder": {"median_ms": 1.0}}, "missing key 'parts.encoder.p90_ms'"),
        (DeviceState, {"cores": "two"}, "'cores': Input should be a valid integer"),
        (RowBlock, {"start": 0, "stop": 1}, "missing key 'time_ratio'"),
    ],
)
def test_what_does_not_fit_is_named(model: Any, data: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(model, data, "a line")
