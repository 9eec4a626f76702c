"""The docs are true where a machine can tell: names exist on both sides."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from mc_contract.errors import McError
from mc_ops.cli import main
from mc_platform import errors
from mc_platform.model.event import Kind
from mc_platform.observe import metrics
from mc_platform.settings import Settings

ROOT = Path(__file__).parents[2]


def _doc(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _settings():
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        yield alias or f"MC_{name.upper()}"


@pytest.mark.parametrize("name", sorted(_settings()))
def test_every_setting_is_described(name):
    """docs/reference/settings.md names each setting that the service reads."""
    assert f"`{name}`" in _doc("reference/settings.md")


def _metric_names():
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            suffix = "_total" if value._type == "counter" else ""
            yield value._name + suffix


@pytest.mark.parametrize("name", sorted(_metric_names()))
def test_every_metric_is_described(name):
    """docs/reference/metrics.md names each metric that the service exposes."""
    assert f"`{name}`" in _doc("reference/metrics.md")


def _codes():
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, McError) and value is not McError:
            yield value.code


@pytest.mark.parametrize("code", sorted(set(_codes())))
def test_every_error_code_is_described(code):
    """docs/reference/errors.md names each stable code."""
    assert f"`{code}`" in _doc("reference/errors.md")


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_every_kind_of_event_is_described(kind):
    """docs/explanation/ledger.md names each kind."""
    assert f"`{kind}`" in _doc("explanation/ledger.md")


def _verbs(command, path="mcctl"):
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path
    else:
        for name, verb in inner.items():
            if not verb.hidden:  # an earlier name
                yield from _verbs(verb, f"{path} {name}")


def test_every_verb_is_described():
    """docs/reference/mcctl.md has a row for each verb, and for no other."""
    rows = re.findall(r"(?m)^\| `(mcctl [a-z0-9 -]+)` \|", _doc("reference/mcctl.md"))
    assert sorted(rows) == sorted(_verbs(main.load_all()))


def test_links_of_the_documents_lead_somewhere():
    """No relative link in README, ARCHITECTURE, SECURITY, docs or runbooks is dead."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("runbooks/*.md")]
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def test_pages_named_by_code_exist():
    """A hint such as `docs/reference/settings.md`, in the source or in what is deployed, is a page."""
    named = re.compile(r"(?<![\w/.-])docs/[\w/-]+\.md")
    texts = [
        path for folder in ("src", "deploy", "benchmarks") for path in (ROOT / folder).rglob("*")
    ]
    gone = [
        f"{path.relative_to(ROOT)}: {page}"
        for path in texts
        if path.suffix in {".py", ".sql", ".toml", ".yml", ".yaml"}
        for page in named.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / page).is_file()
    ]
    assert gone == []


def _pages():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("runbooks/**/*.md")]
    return {
        page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
        for page in pages
        if page.name != "CHANGELOG.md"  # which tells what was
    }


def test_files_that_pages_name_exist():
    """A path is one of the repository; a Python file in `code` may begin with any folder of it."""
    roots = "src|tests|tools|benchmarks|deploy|docs|policies|runbooks|scripts"
    sources = [
        f"/{path.relative_to(ROOT).as_posix()}"
        for folder in roots.split("|")
        for path in (ROOT / folder).rglob("*")
    ]
    whole = re.compile(rf"(?<![\w./{{}}$-])(?:{roots})/(?!\.venv|agent-workbench)[\w./-]*\w")
    placeholder = re.compile(r"\b[A-Z]{4,}\b")  # as in `detectors/FILE.py`
    gone = [
        f"{page}: {named}"
        for page, text in _pages().items()
        for named in {*re.findall(r"`([\w./-]+\.py)\b", text), *whole.findall(text)}
        if not (ROOT / named).exists()
        and not any(path.endswith("/" + named) for path in sources)
        and not placeholder.search(named)
    ]
    assert gone == []


def test_what_pages_name_in_a_module_exists():
    """A dotted name such as `mc_contract.judgement.verdict.rejudge` can be imported."""
    dotted = re.compile(r"\bmc_(?:platform|contract|ops|samples)(?:\.\w+)+")
    entry_points = {"mc_platform.actions"}  # a group of a package's metadata
    gone = []
    for page, text in _pages().items():
        for name in set(dotted.findall(text)) - entry_points:
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                gone.append(f"{page}: {name}")
    assert gone == []


_CODE = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?<![\w./`-])mcctl((?: [^\s;|&)#]+(?:\|[a-z]\S*)?)+)")


def _commands(text):
    """What follows `mcctl` in code: continued lines are one, `a|b` are two verbs."""
    for fenced, inline in _CODE.findall(text):
        one = re.sub(r"\\\n\s*|\n\s+(?=\[|--)", " ", fenced or inline)
        yield from (command.split() for command in _COMMAND.findall(one))


def test_commands_that_pages_show_exist():
    """Each verb of `mcctl` in code, and each option behind it, is one that it takes."""
    root, gone = main.load_all(), []
    for page, text in _pages().items():
        for words in _commands(text):
            verbs, rest = [root], list(words)
            while rest and hasattr(verbs[0], "commands") and re.match(r"[a-z]", rest[0]):
                names = rest.pop(0).strip(',"').split("|")
                verbs = [verb for verb in map(verbs[0].commands.get, names) if verb]
                if len(verbs) < len(names):
                    gone.append(f"{page}: no verb in mcctl {' '.join(words)}")
                    break
            takes = {"--help", *(["--install-completion"] if verbs == [root] else [])}.union(
                *(p.opts + p.secondary_opts for v in verbs for p in v.params)
            )
            gone += [
                f"{page}: no {option} in mcctl {' '.join(words)}"
                for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(rest))
                if verbs and option not in takes
            ]
    assert gone == []


def test_every_page_is_in_the_site_and_in_the_list_of_pages():
    """mkdocs.yml has a place for each page of docs/, and docs/index.md a link to it."""
    places = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = _doc("index.md")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")]
    assert [page for page in pages if f": {page}\n" not in places] == []
    assert [page for page in pages if f"]({page})" not in listed and page != "index.md"] == []
