"""docs/findings.md says what the committed measurements say."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_figures_of_the_findings_can_be_made_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    runpy.run_path(str(ROOT / "benchmarks" / "findings.py"), run_name="__main__")
    blocks = capsys.readouterr().out.strip().split("\n\n")
    page = (ROOT / "docs" / "findings.md").read_text()
    assert len(blocks) > 5
    assert [block for block in blocks if f"```\n{block}\n```" not in page] == []
