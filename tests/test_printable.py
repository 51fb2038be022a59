"""Text for people."""

from mosdeploy.printable import (
    byte_size,
    duration,
    kept,
    latency,
    memory_kept,
    printable,
    told_apart,
)


def test_what_steers_a_terminal_is_replaced() -> None:
    assert printable("\x1b[2Jred\n\tand more") == "?[2Jred\n\tand more"
    assert printable("txt.\u202eexe") == "txt.?exe"


def test_a_duration_has_the_unit_that_people_use() -> None:
    times = [duration(seconds) for seconds in (0.2, 40, 89, 91, 3600, 9000)]
    assert times == ["1 s", "40 s", "89 s", "2 min", "60 min", "2.5 h"]


def test_a_size_has_the_unit_that_suits_it() -> None:
    sizes = [byte_size(x) for x in (0, 2**20 - 2**10, 2**20, 2**30 - 2**20, 47 * 2**29)]
    assert sizes == ["0 KiB", "1,023 KiB", "1.0 MiB", "1,023.0 MiB", "23.5 GiB"]
    assert [byte_size(x, 6) for x in (10, 300_000)] == ["10 B", "292.969 KiB"]
    assert byte_size(29.25 * 2**20, 4) == "29.25 MiB"


def test_no_number_is_told_in_powers_of_ten() -> None:
    told = [latency(x) for x in (1e-9, 0.5, 150.0, 20.5, 1e9)]
    assert told == ["0.000000001 ms", "0.5 ms", "150 ms", "20.5 ms", "1000000000 ms"]
    assert latency(12_345.678, 4) == "12350 ms"
    assert kept(1e-10, 1e-9) == ", limit 0.000000001 ms kept"
    assert byte_size(123_456 * 2**30, 4) == "123500 GiB"


def test_a_figure_near_its_limit_never_looks_equal_to_it() -> None:
    assert told_apart(latency, 12_345.0, 12_344.9) == ("12345 ms", "12344.9 ms")
    assert told_apart(latency, 20.0, 20.0) == ("20 ms", "20 ms")
    assert told_apart(latency, 20.0000001, 20.0) == ("20.0000001 ms", "20 ms")
    assert kept(20.004, 20.0, "p99") == ", limit 20 ms (p99) NOT kept (20.004 ms)"
    assert kept(19.9955, 19.996) == ", limit 19.996 ms kept (19.9955 ms)"
    assert kept(20.0, 20.0) == ", limit 20 ms kept"
    limit = 200 * 2**20
    told = [memory_kept(limit + more, limit) for more in (-(2**20), 0, 30, 30_000)]
    assert told == [
        ", 199.0 MiB of memory, limit 200 MiB kept",
        ", 200 MiB of memory, limit 200 MiB kept",
        ", 200.00003 MiB of memory, limit 200 MiB NOT kept",
        ", 200.029 MiB of memory, limit 200 MiB NOT kept",
    ]
