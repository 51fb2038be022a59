import pytest

from mosdeploy import runtime
from mosdeploy.errors import BundleError


@pytest.mark.parametrize(
    "name", ["BundleError", "FileMismatchError", "ManifestError", "ModelError"]
)
def test_each_is_a_bundle_error_with_its_code(name: str) -> None:
    kind = getattr(runtime, name)
    assert issubclass(kind, runtime.BundleError)
    assert kind.exit_code == BundleError.exit_code == 8


def test_all_names_are_sorted_and_there() -> None:
    assert runtime.__all__ == sorted(runtime.__all__)
    assert all(hasattr(runtime, name) for name in runtime.__all__)
