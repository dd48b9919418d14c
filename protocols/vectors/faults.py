"""The single faults from which `make` builds invalid vectors, with the reason to give."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

from protocols.drand import QUICKNET
from protocols.vectors.beacon_cases import TEST_CHAIN

# name, bytes
GOOD_CODEC: list[tuple[str, Any]] = [
    *[(f"integer {n}", n) for n in (0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53 - 1)],
    *[(f"integer {n}", n) for n in (-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**53) + 1)],
    *[(f"float {x}", x) for x in (0.0, 1.0, -1.5, 5e-324, 1.7976931348623157e308)],
    *[(f"text of {n} bytes", "a" * n) for n in (0, 1, 31, 32, 255, 256)],
    ("text of four-byte characters", "🐝🐝"),
    ("text with a byte order mark and a null", "\ufeffa\x00b"),
    *[(f"binary of {n} bytes", bytes(n)) for n in (0, 1, 255, 256)],
    ("booleans", [True, False]),
    *[(f"array of {n}", list(range(n))) for n in (0, 15, 16)],
    ("eight levels", [[[[[[[[1]]]]]]]]),
]

# name, bytes in hexadecimal, reason
BAD_CODEC: list[tuple[str, str, str]] = [
    ("nothing", "", "malformed"),
    ("bytes left over", "0101", "malformed"),
    ("array cut off", "9201", "malformed"),
    ("number cut off", "cd01", "malformed"),
    ("float cut off", "cb3ff00000", "malformed"),
    ("text cut off", "a261", "malformed"),
    ("binary that promises 4 GiB", "c6ffffffff", "malformed"),
    ("nil", "c0", "malformed"),
    ("reserved", "c1", "malformed"),
    ("empty map", "80", "malformed"),
    ("map", "81a16101", "malformed"),
    ("map 16", "de0000", "malformed"),
    ("32-bit float", "ca3f800000", "malformed"),
    ("extension", "c70101ff", "malformed"),
    ("timestamp", "d6ff00000000", "malformed"),
    ("text that is not UTF-8", "a1ff", "malformed"),
    ("overlong UTF-8", "a2c080", "malformed"),
    ("surrogate in UTF-8", "a3eda080", "malformed"),
    ("beyond Unicode", "a4f4908080", "malformed"),
    ("not a number", "cb7ff8000000000000", "malformed"),
    ("infinity", "cb7ff0000000000000", "malformed"),
    ("negative infinity", "cbfff0000000000000", "malformed"),
    ("negative zero", "cb8000000000000000", "not-canonical"),
    ("2^53", "cf0020000000000000", "malformed"),
    ("2^64 - 1", "cfffffffffffffffff", "malformed"),
    ("-2^53", "d3ffe0000000000000", "malformed"),
    ("127 in two bytes", "cc7f", "not-canonical"),
    ("255 in three bytes", "cd00ff", "not-canonical"),
    ("65535 in five bytes", "ce0000ffff", "not-canonical"),
    ("2^32 - 1 in nine bytes", "cf00000000ffffffff", "not-canonical"),
    ("-32 in two bytes", "d0e0", "not-canonical"),
    ("-128 in three bytes", "d1ff80", "not-canonical"),
    ("-32768 in five bytes", "d2ffff8000", "not-canonical"),
    ("-2^31 in nine bytes", "d3ffffffff80000000", "not-canonical"),
    ("1 as a signed number", "d001", "not-canonical"),
    ("300 as a signed number", "d1012c", "not-canonical"),
    ("short text with a long head", "d90161", "not-canonical"),
    ("255 bytes of text with a 16-bit length", "da00ff" + "61" * 255, "not-canonical"),
    ("short binary with a long head", "c5000100", "not-canonical"),
    ("short array with a long head", "dc000101", "not-canonical"),
    ("short array with a 32-bit length", "dd0000000101", "not-canonical"),
    ("a wrong spelling before a missing value", "92cc01", "not-canonical"),
    ("array that promises 2^32 - 1 values", "ddffffffff", "too-large"),
    ("arrays that promise 65535 values each", "dcffff" * 8, "too-large"),
    ("nine levels", "91" * 9 + "01", "too-large"),
]

# The body that the share faults change, as it stands on the wire; make_vectors fills in the
# proposer.
ROUND, EPOCH, FIRST_INDEX, COUNT, GROUPS = range(5)
RECIPE, RENDERING, POLICY, COMPLETIONS, REWARDS = range(5)
ENVIRONMENT, VERSION, PARAMETERS, RECIPE_EPOCH, PROPOSER, INDEX = range(6)
MODEL, DIGEST, STEP = range(3)
TEXT, FINISHED, TOKENS, LOGPROB = range(4)

_G = (GROUPS, 0)
_R = (*_G, RECIPE)
_C = (*_G, COMPLETIONS, 0)

# name, path to the field, wrong value; the reason is "schema" throughout
BAD_SHARE_FIELDS: list[tuple[str, tuple[int, ...], Any]] = [
    ("round negative", (ROUND,), -1),
    ("round a float", (ROUND,), 1.0),
    ("round a boolean", (ROUND,), True),
    ("epoch text", (EPOCH,), "7"),
    ("epoch other than the recipes'", (EPOCH,), 8),
    ("first index negative", (FIRST_INDEX,), -1),
    ("count too small for the indices", (COUNT,), 2),
    ("range beyond 2^53 - 1", (COUNT,), 2**53 - 1),
    ("groups not an array", (GROUPS,), 0),
    ("group of four fields", _G, [0, 0, 0, 0]),
    ("group index before the range", (*_R, INDEX), 9),
    ("group index repeated", (*_R, INDEX), 12),
    ("recipe of another epoch", (*_R, RECIPE_EPOCH), 6),
    ("environment without a family", (*_R, ENVIRONMENT), "spell_backward"),
    ("environment in capitals", (*_R, ENVIRONMENT), "Gym/Spell"),
    ("environment with two slashes", (*_R, ENVIRONMENT), "a/b/c"),
    ("environment of 97 characters", (*_R, ENVIRONMENT), "a/" + "b" * 95),
    ("environment with a line end", (*_R, ENVIRONMENT), "a/b\n"),
    ("version empty", (*_R, VERSION), ""),
    ("version with Arabic digits", (*_R, VERSION), "\u0660.\u0661"),
    ("parameters unsorted", (*_R, PARAMETERS), [["b", 1], ["a", 1]]),
    ("parameter twice", (*_R, PARAMETERS), [["a", 1], ["a", 1]]),
    ("parameter of three fields", (*_R, PARAMETERS), [["a", 1, 1]]),
    ("parameter named in capitals", (*_R, PARAMETERS), [["A", 1]]),
    ("parameter value binary", (*_R, PARAMETERS), [["a", b"\x01"]]),
    ("parameter value an array", (*_R, PARAMETERS), [["a", [1]]]),
    ("parameter text of 257 bytes", (*_R, PARAMETERS), [["a", "ü" * 128 + "u"]]),
    ("17 parameters", (*_R, PARAMETERS), [[f"p{n:02}", 0] for n in range(17)]),
    ("proposer of 31 bytes", (*_R, PROPOSER), bytes(31)),
    ("rendering with a dash", (*_G, RENDERING), "com-pact"),
    ("model empty", (*_G, POLICY, MODEL), ""),
    ("model with a space", (*_G, POLICY, MODEL), "my model"),
    ("model not ASCII", (*_G, POLICY, MODEL), "modèle"),
    ("weights digest of 31 bytes", (*_G, POLICY, DIGEST), bytes(31)),
    ("step negative", (*_G, POLICY, STEP), -1),
    ("no completions", (*_G, COMPLETIONS), []),
    ("more rewards than completions", (*_G, REWARDS), [0.0, 1.0, 1.0]),
    ("65 completions", (*_G, COMPLETIONS), [["", True, 1, 0.0]] * 65),
    ("text binary", (*_C, TEXT), b"text"),
    ("finished an integer", (*_C, FINISHED), 1),
    ("tokens negative", (*_C, TOKENS), -1),
    ("tokens a float", (*_C, TOKENS), 2.0),
    ("log-probability positive", (*_C, LOGPROB), 5e-324),
    ("log-probability an integer", (*_C, LOGPROB), -1),
    ("reward an integer", (*_G, REWARDS, 0), 1),
    ("reward above 1000", (*_G, REWARDS, 0), 1000.0000000000001),
    ("reward below -1000", (*_G, REWARDS, 0), -1e300),
]

# What a general MessagePack library writes and the wire refuses, inside an otherwise good share:
# name, path, value, reason
BAD_SHARE_VALUES: list[tuple[str, tuple[int, ...], Any, str]] = [
    ("log-probability not a number", (*_C, LOGPROB), float("nan"), "malformed"),
    ("log-probability minus infinity", (*_C, LOGPROB), float("-inf"), "malformed"),
    ("reward nil", (*_G, REWARDS, 0), None, "malformed"),
    ("parameters a map", (*_R, PARAMETERS), {"level": 3}, "malformed"),
    ("reward a negative zero", (*_G, REWARDS, 0), -0.0, "not-canonical"),
    ("step of 2^63", (*_G, POLICY, STEP), 2**63, "malformed"),
]


def changed(array: list[Any], path: tuple[int, ...], value: Any) -> list[Any]:
    """A copy of a nested array with one place changed."""
    result = copy.deepcopy(array)
    inner = result
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return result


def lax_signature(signature: bytes) -> bytes:
    """The signature with the group order added to its second half, which lax verifiers accept."""
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    return signature[:32] + scalar.to_bytes(32, "little")


MANIFEST = """\
protocol = 1
name = "vectors"
epoch_seconds = 600
tasks_per_epoch = 100
group_size = { min = 2, max = 16 }
max_completion_chars = 64
max_completion_tokens = 32
max_groups_per_share = 8
renderings = ["compact", "prose"]

[[environment]]
name = "reasoning_gym/spell_backward"
version = "0.1.25"
parameters = { level = { min = 1, max = 5 } }
"""

_INFO = asdict(TEST_CHAIN)
OWN_CHAIN = f"""\
beacon = "drand"
drand_chain = "{TEST_CHAIN.hash.hex()}"
drand_info = {{ public_key = "{_INFO["public_key"].hex()}", genesis_time = {_INFO["genesis_time"]}, \
period = {_INFO["period"]}, group_hash = "{_INFO["group_hash"].hex()}", beacon_id = "{_INFO["beacon_id"]}" }}
"""
_NAME = 'name = "vectors"\n'
_QUICKNET = f'beacon = "drand"\ndrand_chain = "{QUICKNET.hash.hex()}"\n'

# name, text
GOOD_MANIFESTS: list[tuple[str, str]] = [
    ("smallest", MANIFEST),
    (
        "the same, written otherwise",
        """
# Comments, order and formatting change nothing; every value does.
renderings = [
    "prose",
    "compact",
]
max_groups_per_share = 0x8
max_completion_tokens = 3_2
max_completion_chars = 64
tasks_per_epoch = 100
group_size.max = 16
group_size.min = 2
epoch_seconds = 600
beacon = "local"
description = ''
name = 'vectors'
protocol = 1
environment = [{ version = "0.1.25", name = "reasoning_gym/spell_backward", parameters.level = { max = 5, min = 1 } }]
""",
    ),
    (
        "everything",
        """
protocol = 1
name = "Bienenstock 🐝"
description = "Zwei Zeilen,\\n\\"so\\" geschrieben."
epoch_seconds = 3600
beacon = "drand"
drand_chain = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
tasks_per_epoch = 9007199254740991
group_size = { min = 1, max = 64 }
max_completion_chars = 262144
max_completion_tokens = 4096
max_groups_per_share = 128
renderings = ["prose"]

[[environment]]
name = "b/plain"
version = "1"

[[environment]]
name = "a/fixed"
version = "0.1.25+1"
[environment.parameters]
words = "one two"
strict = true
ratio = 0.5
level = { min = -3, max = 3 }
count = 7
""",
    ),
    ("a drand chain of one's own", MANIFEST.replace("tasks_per_epoch", f"{OWN_CHAIN}tasks_per_epoch")),
]

# name, text to replace in MANIFEST, replacement
BAD_MANIFESTS: list[tuple[str, str, str]] = [
    ("not TOML", "protocol = 1", "protocol = "),
    ("another protocol", "protocol = 1", "protocol = 2"),
    ("protocol missing", "protocol = 1\n", ""),
    ("unknown key", "epoch_seconds", "epoch_second"),
    ("name not text", '"vectors"', "5"),
    ("name of 65 bytes", '"vectors"', f'"{"a" * 65}"'),
    ("epoch of no length", "epoch_seconds = 600", "epoch_seconds = 0"),
    ("epoch a float", "epoch_seconds = 600", "epoch_seconds = 600.0"),
    ("unknown beacon", 'name = "vectors"', 'name = "vectors"\nbeacon = "dice"'),
    ("drand without a chain", 'name = "vectors"', 'name = "vectors"\nbeacon = "drand"'),
    ("a chain without drand", _NAME, _NAME + _QUICKNET.replace('"drand"', '"local"')),
    ("a chain of 31 bytes", _NAME, _NAME + _QUICKNET.replace(QUICKNET.hash.hex(), "00" * 31)),
    ("a chain that is not known", _NAME, _NAME + _QUICKNET.replace(QUICKNET.hash.hex(), "00" * 32)),
    ("info without a chain", _NAME, _NAME + OWN_CHAIN.replace("drand_chain", "#")),
    ("info of another chain", _NAME, _NAME + OWN_CHAIN.replace(TEST_CHAIN.hash.hex(), QUICKNET.hash.hex())),
    ("info with another key", _NAME, _NAME + OWN_CHAIN.replace(TEST_CHAIN.public_key.hex(), QUICKNET.public_key.hex())),
    ("info with another period", _NAME, _NAME + OWN_CHAIN.replace("period = 5", "period = 3")),
    ("info without a period", _NAME, _NAME + OWN_CHAIN.replace("period = 5, ", "")),
    ("info with a key of 48 bytes", _NAME, _NAME + OWN_CHAIN.replace(TEST_CHAIN.public_key.hex(), "80" * 48)),
    ("an epoch shorter than the chain's period", f"{_NAME}epoch_seconds = 600\n", f"{_NAME}{_QUICKNET}epoch_seconds = 2\n"),
    ("group size reversed", "{ min = 2, max = 16 }", "{ min = 16, max = 2 }"),
    ("group size above 64", "{ min = 2, max = 16 }", "{ min = 2, max = 65 }"),
    ("group size a number", "{ min = 2, max = 16 }", "8"),
    ("more groups than a share holds", "max_groups_per_share = 8", "max_groups_per_share = 129"),
    ("no rendering", '["compact", "prose"]', "[]"),
    ("rendering twice", '["compact", "prose"]', '["prose", "prose"]'),
    ("rendering not text", '["compact", "prose"]', '["prose", 1]'),
    ("environment without a family", '"reasoning_gym/spell_backward"', '"spell_backward"'),
    ("version missing", 'version = "0.1.25"\n', ""),
    ("unknown key of an environment", 'version = "0.1.25"', 'version = "0.1.25"\nlevel = 3'),
    ("range reversed", "{ min = 1, max = 5 }", "{ min = 5, max = 1 }"),
    ("range of floats", "{ min = 1, max = 5 }", "{ min = 1.0, max = 5.0 }"),
    ("range with a step", "{ min = 1, max = 5 }", "{ min = 1, max = 5, step = 2 }"),
    ("parameter infinite", "{ min = 1, max = 5 }", "inf"),
    ("parameter a list", "{ min = 1, max = 5 }", "[1, 5]"),
    ("parameter a date", "{ min = 1, max = 5 }", "2026-01-01"),
    ("parameter beyond 2^53 - 1", "{ min = 1, max = 5 }", "9007199254740992"),
    (
        "environment twice",
        "[[environment]]",
        '[[environment]]\nname = "reasoning_gym/spell_backward"\nversion = "1"\n[[environment]]',
    ),
    ("no environment", MANIFEST[MANIFEST.index("[[environment]]") :], ""),
]
