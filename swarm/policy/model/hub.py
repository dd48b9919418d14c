"""Why a model could not be loaded, and what to do: the hub's and the system's errors as one
sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

NAMES = "policy.model must be embedded, smollm2, a model folder or a name at the model hub"


def why_not(error: BaseException) -> str:
    """Say what went wrong in loading a model, and the remedy.

    Libraries wrap errors, so their causes are looked at too.
    """
    for each in _causes(error):
        # The order matters: a gated repository is also "not found", and both are an OSError.
        match each:
            case GatedRepoError():
                return "its owner asks for consent: agree to the terms on its page at the hub, then log in with `hf auth login`"
            case RevisionNotFoundError():
                return "the hub has no such revision; set policy.revision to a commit hash of this model, or leave it empty"
            case RepositoryNotFoundError():
                return f"the hub has no such model, or hides it from you; {NAMES}"
            case LocalEntryNotFoundError():
                return (
                    "the model hub cannot be reached, and the model has not been fetched before; try again when online, or copy "
                    "a model folder here and name it as policy.model"
                )
            case OSError(errno=errno.ENOSPC | errno.EDQUOT):
                return "the disk is full; free space, or move the downloads by setting HF_HOME"
    first = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{first or type(error).__name__}; {NAMES}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
