"""A JavaScript reader, written from protocols/README.md, agrees with vectors and Python."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from protocols.codec import decode
from protocols.limits import MAX_BODY_BYTES
from protocols.messages import Share, check_share, unpack_body
from protocols.reasons import ProtocolError
from protocols.vectors import make as make_vectors
from protocols.vectors.as_json import body_json, typed

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
INSTALLED = HERE / "node_modules" / ".installed-lock.json"


@pytest.fixture(scope="module")
def read_vectors():
    """Run the reader over a directory of vectors: its report as a dict."""
    if not (shutil.which("node") and shutil.which("npm")) and not os.environ.get("CI"):
        pytest.skip("Node.js 20 with npm is not installed (Debian: nodejs npm); the JavaScript reader is not checked")
    if not INSTALLED.exists() or INSTALLED.read_bytes() != LOCK.read_bytes():
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=HERE, check=True)
        shutil.copyfile(LOCK, INSTALLED)

    def run(directory):
        done = subprocess.run(["node", "check.js", str(directory)], cwd=HERE, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        assert done.returncode == (1 if report["differences"] else 0)
        return report

    return run


def test_the_reader_agrees_with_every_vector(read_vectors):
    report = read_vectors(make_vectors.DIRECTORY)
    assert report["differences"] == []
    for name, text in make_vectors.files().items():
        content = json.loads(text)
        assert report["counts"][name[:-5]] == {part: len(content[part]) for part in ("valid", "invalid")}


def test_the_reader_sees_wrong_vectors(read_vectors, tmp_path):
    shutil.copytree(make_vectors.DIRECTORY, tmp_path / "vectors")
    for name in ("recipes", "manifests", "envelopes"):
        path = tmp_path / "vectors" / f"{name}.json"
        path.write_text(path.read_text().replace('"seed": "', '"seed": "1').replace('"epoch": 0', '"epoch": 1'))
    text = (tmp_path / "vectors" / "envelopes.json").read_text()
    (tmp_path / "vectors" / "envelopes.json").write_text(text.replace('"reason": "signature"', '"reason": "schema"', 1))
    wrong = [difference["where"] for difference in read_vectors(tmp_path / "vectors")["differences"]]
    assert {where.split(":")[0] for where in wrong} >= {"recipes", "manifests", "envelopes"}


def mutated(random_, data):
    """The bytes with a few of them changed, removed, inserted or repeated."""
    result = bytearray(data)
    for _ in range(random_.randint(1, 3)):
        place = random_.randrange(len(result) + 1)
        match random_.randrange(4):
            case 0:
                result[place : place + 1] = bytes(
                    [random_.choice([random_.randrange(256), 0xC0, 0xCB, 0xCC, 0xCF, 0xD9, 0xDC, 0xDD])]
                )
            case 1:
                del result[place : place + random_.randint(1, 4)]
            case 2:
                result[place:place] = random_.randbytes(random_.randint(1, 4))
            case _:
                result[place:place] = result[place : place + random_.randint(1, 40)]
    return bytes(result)


def test_both_languages_say_the_same_of_mutated_bytes(read_vectors, tmp_path):
    chance = random.Random(5)
    files = {name[:-5]: {"valid": [], "invalid": []} for name in make_vectors.files()}

    bodies = json.loads((make_vectors.DIRECTORY / "bodies.json").read_text())["valid"]
    for number in range(3000):
        whole = chance.choice(bodies)
        case = {**whole, "name": str(number), "bytes": mutated(chance, bytes.fromhex(whole["bytes"])).hex()}
        try:
            body = unpack_body(case["kind"], bytes.fromhex(case["bytes"]))
            if isinstance(body, Share):
                check_share(body, bytes.fromhex(case["signer"]))
            files["bodies"]["valid"].append({**case, "body": body_json(body)})
        except ProtocolError as error:
            files["bodies"]["invalid"].append({**case, "reason": error.reason})

        case = {"name": str(number), "bytes": case["bytes"][: 2 * chance.randrange(1, 40)]}
        try:
            value = decode(bytes.fromhex(case["bytes"]), MAX_BODY_BYTES)
            files["codec"]["valid"].append({**case, "value": typed(value)})
        except ProtocolError as error:
            files["codec"]["invalid"].append({**case, "reason": error.reason})

    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    report = read_vectors(tmp_path)
    assert report["differences"] == []
    assert min(report["counts"]["bodies"].values()) > 100
    assert len({case["reason"] for case in files["bodies"]["invalid"]}) >= 4
