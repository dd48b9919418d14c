"""`benchmarks/cost/gpu.py --small`: the rows for a GPU machine run on whatever there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_every_row_runs_without_a_gpu() -> None:
    program = Path(__file__).parents[2] / "benchmarks" / "cost" / "gpu.py"
    done = subprocess.run([sys.executable, str(program), "--small"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["generation"]["completions"] == 16
    assert report["generation"]["tokens_per_s"] > 0
    assert {"sliced", "full_logits"} <= report["training"].keys()
    assert [row["shape"] for row in report["fits"]] == ["tiny"]
    assert "left_out" in report["vllm"] or report["vllm"]["share"] > 0
