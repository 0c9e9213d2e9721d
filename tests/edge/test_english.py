"""Plain English: phrases that readers stumbled over do not come back."""

import re
import tomllib
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
PHRASES = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text())["phrase"]
OTHERS = (Path(__file__).name, "phrases.toml")
SUFFIXES = {".py", ".md", ".c", ".h", ".toml", ".pyi"}


def texts() -> dict[str, str]:
    """Every file that a person reads, by its path."""
    places = [ROOT / name for name in ("ocnet", "problems", "examples", "docs", "tests")]
    files = [file for place in places for file in place.rglob("*") if file.suffix in SUFFIXES]
    files += list(ROOT.glob("*.md"))
    return {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
        for file in files
        if file.name not in OTHERS
    }


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, str]]:
    """Each line with the place where it is, and the start of the next, which a phrase may reach."""
    found = []
    for path, text in texts().items():
        rows = text.splitlines()
        for number, (row, after) in enumerate(zip(rows, [*rows[1:], ""], strict=True), start=1):
            following = re.sub(r"^[\s#*]+", "", after).split()[:4]
            found.append((f"{path}:{number}", " ".join([row, *following])))
    return found


@pytest.mark.parametrize("phrase", PHRASES, ids=[phrase["pattern"][:40] for phrase in PHRASES])
def test_no_phrase_of_the_list_is_used(
    phrase: dict[str, str], lines: list[tuple[str, str]]
) -> None:
    pattern = re.compile(phrase["pattern"])
    used = [f"{place}: {line.strip()}" for place, line in lines if pattern.search(line)]
    assert not used, f"Instead: {phrase['instead']}.\n" + "\n".join(used)


def test_the_list_finds_what_readers_stumbled_over() -> None:
    stumbled = [
        "What `observe` took of all that.",
        "Of how many steps `running_cost` gets the nodes at a time",
        "What computing a layer a second time must leave alone",
        "The folder is no run.",
        "the state behind the projection",
        "the user must write `sample`",
        "Arguments: as of `solve`.",
    ]
    for sentence in stumbled:
        assert any(re.search(phrase["pattern"], sentence) for phrase in PHRASES), sentence
