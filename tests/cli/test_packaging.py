"""The user's installation: a complete sdist and wheel, and a `swarmd` that works from any
directory."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import swarm

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocols", "swarm")
BESIDE = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
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
BUILD_SDIST = "import setuptools.build_meta, sys; setuptools.build_meta.build_sdist(sys.argv[1])"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools would also pack what an earlier build left beside the
    sources."""
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in BESIDE:
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-c", BUILD_SDIST, "dist"], cwd=source, check=True, stdout=subprocess.DEVNULL)
    (built,) = (source / "dist").glob("*")
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the sdist, which so is shown to lack nothing."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", sdist.parent / "wheel", sdist], check=True)
    (built,) = (sdist.parent / "wheel").glob("*")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a virtual environment with the wheel, which finds the dependencies where
    these tests do."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    # A plain path entry: the .pth files in there, and with them this checkout, stay out of it.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def files_of_the_packages() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_sdist_holds_every_file_of_the_packages_and_no_tests(sdist: Path) -> None:
    top = f"swarmd-{swarm.__version__}"
    assert sdist.name == f"{top}.tar.gz"
    with tarfile.open(sdist) as archive:
        held = {member.name.removeprefix(f"{top}/") for member in archive if member.isfile()}
    ours = {name for name in held if "egg-info" not in name}
    assert ours == files_of_the_packages() | {*BESIDE, "PKG-INFO", "setup.cfg"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files_of_the_packages()
    assert held >= MUST_HOLD


def test_the_wheel_says_what_it_is_and_under_which_licence(wheel: Path) -> None:
    about = f"swarmd-{swarm.__version__}.dist-info"
    assert wheel.name == f"swarmd-{swarm.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{about}/METADATA").decode()
        licence = archive.read(f"{about}/licenses/LICENSE").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nAuthor: The swarmd authors\n" in metadata
    assert licence == (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_installed_command_works_from_another_directory(installed: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> str:
        result = subprocess.run(
            arguments, capture_output=True, text=True, cwd=tmp_path, check=True, env={"PATH": "/usr/bin:/bin"}
        )
        return result.stdout

    assert run(installed / "swarmd", "--version") == f"swarmd {swarm.__version__}\n"
    assert "Commands:" in run(installed / "swarmd", "--help")
    assert str(ROOT) not in run(installed / "python", "-c", "import swarm, protocols; print(swarm.__file__, protocols.__file__)")
    run(installed / "swarmd", "--home", "home", "init")
    assert "right" in run(installed / "swarmd", "--home", "home", "config", "check"), "the built-in manifest is found"
    assert tomllib.loads(run(installed / "swarmd", "config", "example"))
    load = "from swarm.tasks.environment import load_environments; print(*load_environments())"
    assert "reasoning_gym" in run(installed / "python", "-c", load)


def test_an_installation_with_vllm_has_the_versions_that_are_tested_but_where_vllm_forbids_it() -> None:
    tested, with_vllm = (_pins(ROOT / name) for name in ("constraints.txt", "constraints-vllm.txt"))
    assert "vllm" in with_vllm
    other = {name for name in tested.keys() & with_vllm.keys() if tested[name] != with_vllm[name]}
    assert other == {"numpy", "transformers"}


def _pins(path: Path) -> dict[str, str]:
    pins = (
        line.split(";")[0].strip().partition("==") for line in path.read_text().splitlines() if "==" in line and line[0] != "#"
    )
    return {name.lower().replace("_", "-"): version for name, _, version in pins}
