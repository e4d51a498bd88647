"""Run the documentation, as docs/index.md promises its readers."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from smartroute import RouterConfig, errors
from smartroute.config.sources import VARIABLES
from smartroute.records import Call, Reply
from smartroute.testing import ScriptedProvider, reply

ROOT = Path(__file__).parents[1]
TOP_PAGES = ("README.md", "MIGRATION_GUIDE.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
PAGES = [*(ROOT / name for name in TOP_PAGES), *sorted((ROOT / "docs").glob("*.md"))]

RUN_BY = {
    "classification.md": "tests/classify/test_classify_docs.py",
    "MIGRATION_GUIDE.md": "tests/test_migration_guide.py",
}
"""Pages whose snippets need a world of their own, and the test that gives it to them."""


class Block(NamedTuple):
    """A fenced block of a page: its info string, its text, and the line on which the text begins."""

    info: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = []
    for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        line = page.count("\n", 0, match.start(2)) + 1
        found.append(Block(match[1].strip(), match[2], line))
    return found


def run(page: str, path: str = "a page", **known: object) -> None:
    """Run a page's Python blocks from top to bottom in one namespace; compare what they print."""
    names: dict[str, object] = {"__name__": "page", **known}
    printed: str | None = None
    for info, text, line in blocks(page):
        if info == "output":
            assert printed is not None, f"{path}:{line}: this output follows no Python block"
            assert printed.rstrip() == text.rstrip(), f"{path}:{line}: the snippet prints something else"
        if info not in ("python", "python no-run"):
            printed = None
            continue
        code = compile("\n" * (line - 1) + text, path, "exec")
        if info == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, names)
            printed = out.getvalue()


def answer(call: Call) -> Reply:
    """Stand for a model: JSON where it was asked for, else a number."""
    wanted = call.params.get("response_format") is not None
    return reply('{"score": 82, "confidence": 0.9}' if wanted else "82", input_tokens=24, output_tokens=2)


@pytest.fixture
def scripted_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedProvider:
    """Let routers without a provider of their own call a script, in an empty folder, without keys."""
    provider = ScriptedProvider(answer)
    monkeypatch.setattr("smartroute.router.construction.litellm_provider", lambda: provider)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where pages write for the example's sake
    return provider


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_snippet_runs_and_prints_what_the_page_says(
    path: Path, scripted_models: ScriptedProvider
) -> None:
    if path.name in RUN_BY:
        runner = (ROOT / RUN_BY[path.name]).read_text("utf-8")
        assert path.name in runner
        assert "exec(" in runner or "run(PAGE" in runner
        return
    run(path.read_text("utf-8"), str(path.relative_to(ROOT)))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_fence_is_of_a_known_kind_and_valid(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(blocks(text))
    for info, body, line in blocks(text):
        where = f"{path.name}:{line}"
        assert info in ("", "json", "output", "python", "python no-run", "sh", "toml"), where
        if info == "toml":
            tomllib.loads(body)
        if info == "json":
            json.loads(body)


@pytest.mark.parametrize(
    "path",
    [*PAGES, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_link_leads_to_a_file(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for path in PAGES:
        if path.name != "index.md":
            assert f"{path.name})" in index


def test_the_readme_opens_with_a_command_that_runs_the_demo_and_one_that_passes_the_tests() -> None:
    commands = [text for info, text, _ in blocks((ROOT / "README.md").read_text("utf-8")) if info == "sh"]
    assert re.fullmatch(r"python3 -m venv \.venv && .* && \.venv/bin/smartroute demo\n", commands[0])
    assert re.fullmatch(r"python3 -m venv \.venv && .* && \.venv/bin/pytest\n", commands[1])


def rows(page: str, columns: int) -> list[list[str]]:
    """Return the cells of a page's table rows that have so many columns."""
    lines = re.findall(r"^\|(.*)\|$", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE)
    found = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [cells for cells in found if len(cells) == columns]


def test_the_page_on_configuration_lists_every_setting_with_its_default() -> None:
    stated = {name.strip("`"): default for name, default, _ in rows("configuration.md", 3) if "`" in name}
    assert list(stated) == list(RouterConfig.model_fields)
    for name, field in RouterConfig.model_fields.items():
        if isinstance(field.default, str | int | float):
            assert json.loads(stated[name]) == field.default, name


def test_the_page_on_configuration_lists_every_variable() -> None:
    stated = {one.strip("`"): other.strip("`") for one, other in rows("configuration.md", 2) if "_" in one}
    assert stated == {variable: name for variable, (name, _) in VARIABLES.items()}


@pytest.mark.parametrize("contract", ["layers", "analytics"])
def test_the_page_on_architecture_shows_the_layers_that_are_enforced(contract: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = {each["id"]: each for each in settings["tool"]["importlinter"]["contracts"]}
    enforced = [set(layer.split(" | ")) for layer in contracts[contract]["layers"]]
    assert _layer_tables()[contract] == list(zip(range(len(enforced), 0, -1), enforced, strict=True))


def _layer_tables() -> dict[str, list[tuple[int, set[str]]]]:
    """Return the two tables of numbered layers: that of the whole package comes first."""
    tables: list[list[tuple[int, set[str]]]] = []
    for number, modules, _ in rows("architecture.md", 3):
        if number.isdecimal():
            if not tables or int(number) > tables[-1][-1][0]:  # a table counts down
                tables.append([])
            tables[-1].append((int(number), set(re.findall(r"`(\w+)`", modules))))
    return dict(zip(("layers", "analytics"), tables, strict=True))


def test_the_page_on_errors_names_every_public_error_and_kind() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    for name, value in vars(errors).items():
        if isinstance(value, type) and not name.startswith("_") and value.__module__ == errors.__name__:
            assert f"`{name}`" in page or f"`{name}`s" in page, name
            if "kind" in vars(value) and value is not errors.ProviderError:
                assert f"| `{value.kind}` | `{name}` |" in page


def test_a_page_that_prints_something_else_is_found() -> None:
    page = "```python\nprint(1 + 1)\n```\n\n```output\n3\n```\n"
    with pytest.raises(AssertionError, match="prints something else"):
        run(page)
    run(page.replace("3", "2"))


def test_a_page_whose_snippet_fails_is_found_with_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run("A page.\n\n```python\nx = 1\nx / 0\n```\n")
    assert caught.traceback[-1].lineno == 4
    run("```python no-run\n1 / 0\n```\n")
    with pytest.raises(SyntaxError):
        run("```python no-run\n1 +\n```\n")


def test_snippets_of_a_page_share_their_names() -> None:
    run("```python\nx = 20\n```\n\ntext\n\n```python\nprint(x + 3)\n```\n\n```output\n23\n```\n")
