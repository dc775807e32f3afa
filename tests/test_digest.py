"""Which stage a change of the source reruns."""

from __future__ import annotations

from pathlib import Path

import pytest

from hierreport.digest import stage_digests

FILES = {
    "__init__.py": "def __getattr__(name):\n    from . import everything\n",
    "everything.py": "from . import engine, paper\n",
    "stages.py": (
        '"""Stages."""\n'
        "from pathlib import Path\n"
        "STAGES = {}\n\n\n"
        "def fit(\n    folder,\n    options,\n) -> None:\n    from . import engine\n    engine.run(folder)\n\n\n"
        "def report(folder, options):\n"
        "    from .paper import (\n        render,  # a comment, with a comma\n    )\n\n\n"
        "def _helper():\n    from .files import write\n"
    ),
    "engine.py": (
        "from typing import TYPE_CHECKING\n"
        "from hierreport.numbers import one as two\n"
        "if TYPE_CHECKING:\n    from .typed_only import T\n\n\n"
        "def run(folder):\n    import hierreport.lazy\n"
    ),
    "numbers.py": "one = 1\n",
    "lazy.py": "from .errors import E\n",
    "errors.py": "class E(Exception): ...\n",
    "typed_only.py": "class T: ...\n",
    "files.py": "def write(): ...\n",
    "paper/__init__.py": "from .parts.first import p\nfrom ..errors import E\ndef render(): ...\n",
    "paper/parts/first.py": "p = 1\n",
    "paper/page.html": "<html>",
    "unused.py": "",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "reruns"),
    [
        ("engine.py", {"fit"}),
        ("numbers.py", {"fit"}),
        ("lazy.py", {"fit"}),
        ("errors.py", {"fit", "report"}),
        ("files.py", {"fit", "report"}),  # used by a helper of all stages
        ("typed_only.py", set()),
        ("unused.py", set()),
        ("everything.py", set()),
        ("paper/__init__.py", {"report"}),
        ("paper/parts/first.py", {"report"}),
        ("paper/page.html", {"report"}),
    ],
)
def test_a_change_reruns_what_depends_on_it(package: Path, changed: str, reruns: set[str]) -> None:
    before = stage_digests(("fit", "report"), package)
    (package / changed).write_text((package / changed).read_text() + "\n# changed\n")
    after = stage_digests(("fit", "report"), package)
    assert {stage for stage in before if before[stage] != after[stage]} == reruns


def test_a_change_of_one_stage_leaves_the_others(package: Path) -> None:
    before = stage_digests(("fit", "report"), package)
    stages = package / "stages.py"
    stages.write_text(stages.read_text().replace("engine.run(folder)", "engine.run(folder, 2)"))
    assert stage_digests(["fit"], package)["fit"] != before["fit"]
    assert stage_digests(["report"], package)["report"] == before["report"]


def test_digest_is_the_same_wherever_the_package_lies(package: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import shutil

    other = tmp_path_factory.mktemp("moved") / "package"
    shutil.copytree(package, other)
    assert stage_digests(["fit"], other) == stage_digests(["fit"], package)


def test_every_stage_of_the_package_depends_on_modules_of_its_own() -> None:
    from hierreport.stages import STAGES

    assert len(set(stage_digests(STAGES).values())) == len(STAGES)
