"""The README says what the code does, and the room stands alone."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import protocols
from protocols import drand as beacon
from protocols import envelope, invite, limits, manifest, recipe
from protocols.reasons import ManifestError, ProtocolError, Reason
from protocols.vectors import make as make_vectors

README = (Path(protocols.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_limit_with_its_value():
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| ([0-9.]+) \|", README, re.MULTILINE))
    assert table == {name: str(value) for name, value in vars(limits).items() if name.isupper()}


def test_the_readme_explains_every_reason():
    assert re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", README, re.MULTILINE) == [(each.value, each.meaning) for each in Reason]


def test_the_readme_names_every_domain():
    for domain in (
        envelope.ENVELOPE_DOMAIN,
        invite.INVITE_DOMAIN,
        manifest.MANIFEST_DOMAIN,
        recipe.SEED_DOMAIN,
        recipe.BEACON_DOMAIN,
        beacon.DRAND_DOMAIN,
    ):
        assert '"' + domain.decode().replace("\0", "\\0") + '"' in README


def test_the_readmes_manifest_is_one():
    example = re.search(r"```toml\n(.*?)```", README, re.DOTALL)[1]
    assert manifest.Manifest.from_toml(example).name == "embedded"


def test_the_readme_names_every_vector_file():
    assert {f"`{name}`" for name in make_vectors.files()} <= set(re.findall(r"`[a-z]+\.json`", README))


def test_the_room_needs_nothing_of_the_rest():
    modules = [path.stem for path in Path(protocols.__file__).parent.glob("*.py")]
    program = f"import sys; [__import__('protocols.' + name) for name in {modules}]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"trio", "torch", "libp2p", "swarm", "numpy"} & set(loaded)


def test_errors_cross_process_borders():
    for error in (ProtocolError(Reason.SCHEMA, "why"), ManifestError("why")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.reason, str(again)) == (type(error), error.reason, "why")
