"""Workloads as the command line changes them."""

import pytest

from mosdeploy.errors import ConfigError
from mosdeploy.record import parse
from mosdeploy.run_folder.workloads import changed_workload
from mosdeploy.spaces.encoder import EncoderWorkload
from mosdeploy.spaces.spec import Workload
from mosdeploy.spaces.translation import TranslationWorkload


def test_what_is_not_said_stays() -> None:
    workload = TranslationWorkload(precision="int8", beam=4)
    assert changed_workload(workload) == workload


def test_precision_and_beam_are_changed_and_nothing_else() -> None:
    workload = TranslationWorkload(source_len=9, precision="int8", beam=4)
    changed = changed_workload(workload, precision="fp32", beam=1)
    assert changed == TranslationWorkload(source_len=9, precision="fp32", beam=1)


def test_further_fields_are_those_of_the_family() -> None:
    changed = changed_workload(TranslationWorkload(), others={"shortlist": 20})
    assert changed == TranslationWorkload(shortlist=20)
    with pytest.raises(ConfigError, match=r"have no shortlist: leave it out; .*, threads, "):
        changed_workload(Workload(), others={"shortlist": 20})


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown precision 'int3'; known: fp32, .*, auto"):
        changed_workload(TranslationWorkload(), precision="int3")


def test_a_family_without_beam_search_refuses_a_beam() -> None:
    with pytest.raises(ConfigError, match="models of this family have no beam: leave it out"):
        changed_workload(Workload(), beam=4)


@pytest.mark.parametrize("beam", [0, 65])
def test_a_beam_out_of_range_is_refused(beam: int) -> None:
    with pytest.raises(ConfigError, match=f"'beam'.*got {beam}"):
        changed_workload(TranslationWorkload(), beam=beam)


def test_a_workload_takes_its_family_s_precisions() -> None:
    with pytest.raises(ConfigError, match="unknown precision 'int4'; known: fp32, int8"):
        changed_workload(EncoderWorkload(), precision="int4")
    with pytest.raises(ConfigError, match="'int4' is not one of this family"):
        parse(EncoderWorkload, {"precision": "int4"}, "workload")
