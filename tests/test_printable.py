"""Text for people."""

from mosdeploy.printable import byte_size, duration, printable


def test_what_steers_a_terminal_is_replaced() -> None:
    assert printable("\x1b[2Jred\n\tand more") == "?[2Jred\n\tand more"


def test_a_duration_has_the_unit_that_people_use() -> None:
    times = [duration(seconds) for seconds in (0.2, 40, 89, 91, 3600, 9000)]
    assert times == ["1 s", "40 s", "89 s", "2 min", "60 min", "2.5 h"]


def test_a_size_has_the_unit_that_suits_it() -> None:
    sizes = [byte_size(x) for x in (0, 2**20 - 2**10, 2**20, 2**30 - 2**20, 47 * 2**29)]
    assert sizes == ["0 KiB", "1,023 KiB", "1.0 MiB", "1,023.0 MiB", "23.5 GiB"]
    assert byte_size(29.25 * 2**20, ".4g") == "29.25 MiB"
