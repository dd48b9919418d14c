from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")
