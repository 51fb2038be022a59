"""What is built and shipped: a wheel that runs anywhere, and sources that build it again."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SHIPPED_DEVICES = {path.stem for path in (ROOT / "device_profiles").glob("*.toml")}


def _run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _build(kind: str, source: Path, folder: Path) -> Path:
    """Build a `wheel` or an `sdist` into a folder; give its path."""
    words = ("-m", "build", f"--{kind}", "--no-isolation", "--outdir", folder, source)
    _run(sys.executable, *words, cwd=source)
    [path] = folder.glob("mosdeploy-*")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("wheel", ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sources."""
    path = _build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    [sources] = folder.iterdir()
    return sources


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and sees this environment's
    dependencies.
    """
    folder = tmp_path_factory.mktemp("clean")
    _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    paths = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    (Path(paths.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """An empty folder and an environment without the user's config or this checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return tmp_path, env | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def _files(folder: Path) -> set[str]:
    """Names of the files in a folder of the checkout, from the root, caches left out."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_what_is_shipped(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = _files(Path("device_profiles")) | _files(Path("predictors"))
    assert {f"mosdeploy/shipped/{name}" for name in shipped} <= names
    package = _files(Path("mosdeploy"))
    assert package <= names
    assert {"mosdeploy/py.typed", "mosdeploy/recipes/tiny.toml"} <= package
    outside = ("tests/", "docs/", "benchmarks/", "device_profiles/", "predictors/")
    assert not [name for name in names if name.startswith(outside)]


def test_version_is_written_in_one_place(wheel: Path, sdist: Path) -> None:
    from mosdeploy.version import __version__

    assert wheel.name.split("-")[:2] == ["mosdeploy", __version__]
    assert sdist.name == f"mosdeploy-{__version__}"


def test_sdist_holds_tests_docs_and_benchmarks(sdist: Path) -> None:
    packed = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    for folder in ("mosdeploy", "device_profiles", "predictors", "tests", "docs", "benchmarks"):
        tracked = {name for name in _files(Path(folder)) if Path(name).suffix != ".pyc"}
        assert tracked <= packed, folder
    pages = {path.name for path in ROOT.glob("*.md")}
    assert pages | {"LICENSE", "pyproject.toml"} <= packed


def test_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    again = _build("wheel", sdist, tmp_path / "dist")
    contents = []
    for path in (wheel, again):
        with zipfile.ZipFile(path) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    assert contents[0] == contents[1]


def test_installed_wheel_lists_the_shipped_devices(
    installed: Path, elsewhere: tuple[Path, dict[str, str]]
) -> None:
    folder, env = elsewhere
    origin = _run(
        installed / "python",
        "-c",
        "import mosdeploy; print(mosdeploy.__file__)",
        cwd=folder,
        env=env,
    )
    assert Path(origin.strip()).is_relative_to(installed.parent)
    listed = _run(installed / "mosdeploy", "devices", "list", cwd=folder, env=env)
    assert {"local", "rpi", "xeon", "titanxp"} <= SHIPPED_DEVICES
    assert {line.split()[0] for line in listed.splitlines() if line} >= SHIPPED_DEVICES


def test_installed_wheel_starts_a_run_folder(
    installed: Path, elsewhere: tuple[Path, dict[str, str]]
) -> None:
    folder, env = elsewhere
    _run(installed / "mosdeploy", "init", cwd=folder, env=env)
    assert (folder / "mosdeploy.toml").read_text() == (
        ROOT / "mosdeploy" / "recipes" / "tiny.toml"
    ).read_text()
