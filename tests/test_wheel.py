import os
import subprocess
import sys
import sysconfig
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder,
        ROOT,
        cwd=ROOT,
    )
    [path] = folder.glob("*.whl")
    return path


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


def test_wheel_holds_what_is_shipped(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"mosdeploy/shipped/device_profiles/{name}.toml" for name in SHIPPED_DEVICES}
    wanted |= {
        f"mosdeploy/recipes/{path.name}" for path in (ROOT / "mosdeploy" / "recipes").glob("*.toml")
    }
    wanted |= {
        f"mosdeploy/{path.relative_to(ROOT / 'mosdeploy')}"
        for path in (ROOT / "mosdeploy").rglob("*.py")
    }
    wanted |= {
        f"mosdeploy/shipped/{path.relative_to(ROOT)}"
        for path in (ROOT / "predictors").rglob("*")
        if path.is_file()
    }
    wanted |= {"mosdeploy/py.typed"}
    assert wanted <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "device_profiles/"))]


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
