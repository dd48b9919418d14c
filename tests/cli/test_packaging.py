"""What a user installs: the wheel holds everything, and its `swarmd` works from any directory."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocols", "swarm")
MUST_HOLD = {
    "protocols/README.md",
    "protocols/py.typed",
    "protocols/vectors/envelopes.json",
    "swarm/py.typed",
    "swarm/manifests/embedded.toml",
    "swarm/policy/embedded/config.json",
    "swarm/policy/embedded/model.safetensors",
    "swarm/policy/embedded/tokenizer.json",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools would also pack what an earlier build left beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", source / "dist", source], check=True)
    (built,) = (source / "dist").glob("swarmd-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a virtual environment with the wheel, which finds the dependencies where these tests do."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    # A plain path entry: the .pth files in there, and with them this checkout, stay out of it.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    present = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == present
    assert held >= MUST_HOLD


def test_the_installed_command_works_from_another_directory(installed: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> str:
        result = subprocess.run(
            arguments, capture_output=True, text=True, cwd=tmp_path, check=True, env={"PATH": "/usr/bin:/bin"}
        )
        return result.stdout

    assert "Commands:" in run(installed / "swarmd", "--help")
    assert str(ROOT) not in run(installed / "python", "-c", "import swarm, protocols; print(swarm.__file__, protocols.__file__)")
    run(installed / "swarmd", "--home", "home", "init")
    assert "right" in run(installed / "swarmd", "--home", "home", "config", "check"), "the built-in manifest is found"
    load = "from swarm.tasks.environment import load_environments; print(*load_environments())"
    assert "reasoning_gym" in run(installed / "python", "-c", load)
