import pytest
from pydantic import TypeAdapter, ValidationError

from mosdeploy.config.units import (
    Count,
    Duration,
    Fraction,
    parse_budget_s,
    parse_count,
    parse_duration_ms,
    parse_percent,
    parse_size,
)
from mosdeploy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [("150ms", 150.0), ("3.5s", 3500.0), ("800us", 0.8), (" 20 ms ", 20.0), (".5s", 500.0)],
)
def test_duration_in_milliseconds(text: str, expected_ms: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(expected_ms)


@pytest.mark.parametrize(
    ("text", "expected_s"), [("90s", 90.0), ("30m", 1800.0), (" 1.5 h ", 5400.0)]
)
def test_time_to_spend_in_seconds(text: str, expected_s: float) -> None:
    assert parse_budget_s(text) == expected_s


@pytest.mark.parametrize("text", ["30", "0m", "-1m", "30ms", "1m30s", "", "m"])
def test_bad_time_to_spend_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="like 90s, 30m or 2h"):
        parse_budget_s(text)


@pytest.mark.parametrize(
    "text", ["150", "-1ms", "0ms", "abc", "", "ms", "1e3ms", "nanms", "1ms 2ms", "9" * 400 + "s"]
)
def test_bad_duration_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="positive number with its unit, like 150ms") as caught:
        parse_duration_ms(text)
    assert f"'{text}'" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "expected"), [("2%", 2.0), ("0.5%", 0.5), (" 10 % ", 10.0), (".25%", 0.25)]
)
def test_percent(text: str, expected: float) -> None:
    assert parse_percent(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["2", "-1%", "0%", "100%", "abc", "", "%", "nan%", "2%%", "9" * 400 + "%"]
)
def test_bad_percent_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="with its sign, like 2%") as caught:
        parse_percent(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("4M", 4_000_000), ("1.5k", 1500), ("1G", 10**9), ("2.01M", 2_010_000)],
)
def test_count(text: str, expected: int) -> None:
    assert parse_count(text) == expected
    if expected > 1:
        assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12MiB", 12 * 1024 * 1024), ("2 KiB", 2048), ("1GiB", 2**30), ("64B", 64)],
)
def test_size_in_bytes(text: str, expected: int) -> None:
    assert parse_size(text) == expected
    with pytest.raises(ConfigError, match=r"is not a count.*\(k, M, G may follow it\)"):
        parse_count(text)


@pytest.mark.parametrize("text", ["0", "-4M", "0.5", "abc", "", "4m", "4 MB", "9" * 400])
def test_bad_count_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match=r"positive number like 3500000, 4M or 1\.5G"):
        parse_count(text)
    with pytest.raises(ConfigError, match="positive number like 12MiB, 4M or 3500000"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1.5", "3500000.25"])
def test_a_count_is_whole(text: str) -> None:
    for parse in (parse_count, parse_size):
        with pytest.raises(ConfigError, match=rf"'{text}' is not a .*: write a whole number"):
            parse(text)
    assert parse_count("2.01M") == 2_010_000


@pytest.mark.parametrize("text", ["1", "200", " 999 ", "200.0"])
def test_a_size_of_few_bytes_says_so(text: str) -> None:
    number = round(float(text))
    with pytest.raises(ConfigError, match=f"is {number} bytes; write {number}MiB, or {number}B"):
        parse_size(text)
    assert parse_size(f"{number}B") == number


def test_fields_of_a_section_are_checked_and_kept_as_written() -> None:
    assert TypeAdapter(Duration).validate_python("150ms") == "150ms"
    assert TypeAdapter(Count).validate_python("4M") == "4M"
    assert TypeAdapter(Count).validate_python(3_500_000) == "3500000"
    assert TypeAdapter(Fraction).validate_python(0.5) == 0.5
    for field, value in ((Duration, "150"), (Count, "4 MB"), (Fraction, 1.0)):
        with pytest.raises(ValidationError):
            TypeAdapter(field).validate_python(value)


def test_a_number_without_a_unit_is_no_duration() -> None:
    with pytest.raises(ConfigError, match="'20' is not a duration; write a positive number with"):
        parse_duration_ms(20)  # type: ignore[arg-type]
