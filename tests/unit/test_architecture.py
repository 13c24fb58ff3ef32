"""Imports point one way, and what knows a library is one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shared", "actors", "drw", "dashboard", "couchlet")
PURE = {
    "shared.errors",
    "shared.answers",
    "shared.names",
    "shared.lifecycle",
    "shared.status",
    "shared.messages",
    "shared.bus.envelope",
    "shared.bus.outcomes",
    "shared.bus.patterns",
    "shared.bus.retry",
    "shared.clock",
    "shared.news",
    "shared.origins",
    "shared.printable",
    "shared.readable_json",
    "shared.report",
    "shared.review",
}


def modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, path


MODULES = dict(modules())


def imported(name):
    """Return the modules that one imports, those for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {each if each in MODULES else each.rpartition(".")[0] or each for each in found}


@pytest.mark.parametrize(
    ("package", "may_import"),
    [
        ("shared", {"shared"}),
        ("actors", {"shared", "actors"}),
        ("dashboard", {"shared", "dashboard"}),
        ("drw", {"shared", "drw"}),
        ("couchlet", {"couchlet"}),
    ],
)
def test_packages_import_only_what_they_stand_on(package, may_import):
    for name in MODULES:
        if name.split(".")[0] == package:
            ours = {each for each in imported(name) if each.split(".")[0] in PACKAGES}
            assert {each.split(".")[0] for each in ours} <= may_import, name


def test_actors_never_import_each_other():
    def of(name):
        return name.split(".")[1] if name.count(".") else ""

    for name in MODULES:
        if name.startswith("actors."):
            others = {each for each in imported(name) if each.startswith("actors.") and of(each) != of(name)}
            assert not others, name


def test_the_mock_pipeline_needs_nothing_of_ours():
    assert not {each for each in imported("actors.pipeline") if each.split(".")[0] in {*PACKAGES, "msgspec", "urllib3"}}


def test_pure_modules_import_only_pure_ones():
    for name in PURE:
        ours = {each for each in imported(name) if each.split(".")[0] in PACKAGES and each in MODULES}
        assert ours - {"shared.bus", "shared"} <= PURE, name


def test_one_module_of_shared_speaks_http_to_couchdb():
    knowing = {name for name in MODULES if any(each.startswith("urllib3") for each in imported(name))}
    assert {name for name in knowing if name.startswith("shared.")} == {"shared.couchdb_http"}


def test_nothing_in_shared_imports_in_circles():
    graph = {name: {each for each in imported(name) if each in MODULES and each != name} for name in MODULES}
    for name, found in graph.items():
        found.discard(name.rpartition(".")[0])  # a package's own front is no dependency of its parts
    done: set[str] = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done and name.startswith("shared"):
            for each in graph[name]:
                visit(each, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
