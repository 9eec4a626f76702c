"""Reading and linting runbooks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.errors import UnusableInput
from mc_ops.runbooks import find, load, read
from mc_ops.runbooks.model import On, Repeat
from mc_ops.runbooks.parse import parse

HEADER = "```yaml runbook\nid: demo\ntitle: Demo\n```\n"
STEP = "```sh step=one\ntrue\n```\n"


def reasons(text: str) -> list[tuple[int, str]]:
    runbook, problems = parse(text.encode(), "demo.md")
    assert (runbook is None) == bool(problems)
    return [(problem.line, problem.reason) for problem in problems]


def test_parse_whole_runbook() -> None:
    """Steps carry their attributes, check, undo, section and advice."""
    text = (
        "# Demo\n" + HEADER + "## First part\n"
        '```sh step=one title="Do it" timeout=20m repeat=safe\ntrue\n```\n'
        "```sh check=one timeout=5s\ntest 1\n```\n"
        "```sh undo=one on=failure,interrupt until=two\nfalse\n```\n"
        "> If it fails: look\n> here.\n\n> If it fails with exit 1: it was\n> held.\n\n"
        "```sh\nkubectl get pods\n```\n" + "```sh step=two\ntrue\n```\n> **If it fails:** give up\n"
    )
    runbook, problems = parse(text.encode(), "demo.md")
    assert problems == []
    assert runbook is not None
    one, two = runbook.steps
    assert (one.title, one.script.timeout_s, one.repeat) == ("Do it", 1200.0, Repeat.safe)
    assert (one.section, one.advice, two.advice) == ("First part", "look here.", "give up")
    assert (one.advice_for(1), one.advice_for(3)) == ("it was held.", "look here.")
    assert two.advice_for(1) == "give up"
    assert one.check is not None
    assert one.check.timeout_s == 5.0
    assert one.undo is not None
    assert (one.undo.on, one.undo.until) == (frozenset(On), "two")
    assert (two.repeat, two.check, two.undo) == (Repeat.ask, None, None)
    assert [runbook.armed_after(one, position) for position in (0, 1)] == [True, True]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + STEP,
        (HEADER + STEP).replace("\n", "\r\n"),
        HEADER + "\nProse with a\u2028line separator, a\u0085next line, a\x0cform feed.\n\n" + STEP,
    ],
    ids=["byte order mark", "carriage returns", "separators in prose"],
)
def test_text_as_editors_write_it(text: str) -> None:
    """A byte order mark, other line ends and separators within a line change nothing."""
    runbook, problems = parse(text.encode(), "demo.md")
    assert problems == []
    assert runbook is not None
    assert [step.script.text for step in runbook.steps] == ["true\n"]


@pytest.mark.parametrize(
    ("header", "line", "reason"),
    [
        ("id: demo\ntitle: Demo\nid: other\n", 4, "key 'id' stands twice"),
        (
            "id: demo\ntitle: Demo\nparameters:\n- {name: N, name: M}\n",
            5,
            "key 'name' stands twice",
        ),
        ("id: &a demo\ntitle: *a\n", 3, "has an alias"),
    ],
)
def test_a_header_says_everything_once(header: str, line: int, reason: str) -> None:
    """YAML would take the last of two, and an alias of aliases grows without end."""
    found = reasons(f"```yaml runbook\n{header}```\n{STEP}")
    assert any(at == line and reason in said for at, said in found)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (STEP, 1, "no header"),
        (HEADER, 1, "no steps"),
        (HEADER + STEP + STEP, 8, "duplicate step id 'one', first used on line 5"),
        (HEADER + STEP + "```sh check=two\ntrue\n```\n", 8, "check for unknown step 'two'"),
        (HEADER + STEP + "```sh undo=two\ntrue\n```\n", 8, "undo for unknown step 'two'"),
        (HEADER + "```sh check=one\ntrue\n```\n" + STEP, 5, "check for unknown step 'one'"),
        (
            HEADER + "```sh step=one colour=red\ntrue\n```\n",
            5,
            "colour is unknown; known: assignee, repeat, retry, step",
        ),
        (HEADER + STEP + '```sh title="x"\ntrue\n```\n', 8, "exactly one of step=, check=, undo="),
        (HEADER + "```sh step=\ntrue\n```\n", 5, "attribute 'step=' is not of the form key=value"),
        (HEADER + "```sh step=One\ntrue\n```\n", 5, 'step is "One", must be lower-case words'),
        (HEADER + "```sh step=one\n\n```\n", 5, "the step 'one' is empty"),
        (HEADER + "```sh step=one\ntrue\n", 5, "the block is not closed"),
        (HEADER + '```sh step=one title="x\ntrue\n```\n', 5, "attributes cannot be read"),
        (
            HEADER + "```sh step=one timeout=soon\ntrue\n```\n",
            5,
            'timeout is "soon", must be a duration such as',
        ),
        (
            HEADER + "```sh step=one repeat=no\ntrue\n```\n",
            5,
            'repeat is "no", must be safe or ask',
        ),
        (
            HEADER + STEP + "```sh undo=one on=panic\ntrue\n```\n",
            8,
            'on[0] is "panic", must be failure or interrupt',
        ),
        (HEADER + STEP + "```sh undo=one until=x\ntrue\n```\n", 8, "until names unknown step 'x'"),
        (HEADER + STEP + "```sh check=one\ntrue\n```\n" * 2, 11, "has a second check"),
        (HEADER + HEADER + STEP, 5, "a second header"),
        ("```yaml runbook\nid: x: y\n```\n" + STEP, 2, "the header is not YAML"),
        ("```yaml runbook\nid: x\n```\n" + STEP, 1, "title is missing"),
        (
            "```yaml runbook\nid: x\ntitle: X\nparameters:\n- {name: PATH}\n```\n" + STEP,
            1,
            "parameters[0].name: PATH is set by the engine itself",
        ),
        (
            "```yaml runbook\nid: x\ntitle: X\nparameters:\n- {name: A, default: no}\n```\n" + STEP,
            1,
            "parameters[0].default is false, must be text; put it in quotes",
        ),
        (
            "```yaml runbook\nid: x\ntitle: X\nparameters:\n- {name: A, set_by: none}\n```\n"
            + STEP,
            1,
            "parameter 'A' is set by unknown step 'none'",
        ),
        (
            "```yaml runbook\nid: x\ntitle: X\nparameters:\n- {name: A}\n- {name: A}\n```\n" + STEP,
            1,
            "A is declared twice",
        ),
        (
            "```yaml runbook\nid: x\ntitle: X\nparameters:\n- {name: A, pattern: '['}\n```\n"
            + STEP,
            1,
            "parameters[0].pattern: no regular expression",
        ),
        (
            "```yaml runbook\nid: x\ntitle: X\nparameters:\n- {name: A, pattern: 'a{99999999999}'}\n"
            "```\n" + STEP,
            1,
            "parameters[0].pattern: no regular expression: the repetition number is too large",
        ),
        (
            f"```yaml runbook\nid: x\ntitle: X\nparameters:\n- {{name: A, pattern: '{'(' * 2000}'}}\n"
            "```\n" + STEP,
            1,
            "parameters[0].pattern: no regular expression",
        ),
        (
            f"```yaml runbook\nid: x\ntitle: X\nparameters: {'[' * 3000}{']' * 3000}\n```\n{STEP}",
            1,
            "the header is nested too deep",
        ),
        (
            f"```yaml runbook\nid: x\ntitle: 2026-13-01\n```\n{STEP}",
            1,
            "the header has a value that cannot be read: month must be in 1..12",
        ),
        (f"```yaml runbook\n[id]: x\n```\n{STEP}", 2, "the header is not YAML"),
        (
            f"```yaml runbook\nid: x\ntitle: X\n1: y\n```\n{STEP}",
            1,
            "the key 1 is not text",
        ),
        (
            "```yaml runbook\nid: x\ntitle: X\nparameters:\n"
            "- {name: A, pattern: b, default: c}\n```\n" + STEP,
            1,
            "parameters[0]: the default of A does not match its pattern",
        ),
    ],
)
def test_lint_problem_named_with_line(text: str, line: int, reason: str) -> None:
    """Each defect is told with its line and its reason."""
    assert any(at == line and reason in said for at, said in reasons(text)), reasons(text)


def test_lint_every_problem_at_once() -> None:
    """All problems of a file are told together, in the file's order."""
    text = HEADER + "```sh step=a x=1\ntrue\n```\n" + "```sh check=b\ntrue\n```\n"
    assert [line for line, _ in reasons(text)] == [5, 8]


def test_lint_shell_syntax_error_has_line_of_file(tmp_path: Path) -> None:
    """A shell syntax error is found before anything runs, at its line in the Markdown."""
    path = tmp_path / "demo.md"
    path.write_text(HEADER + "```sh step=one\ntrue\nif true; then\n)\n```\n")
    runbook, problems = read(path)
    assert runbook is None
    assert problems[0].line == 8
    assert "syntax error" in problems[0].reason


def test_lint_a_here_document_that_never_ends(tmp_path: Path) -> None:
    """bash warns of it and exits 0: what follows it was never run, and the step passed."""
    path = tmp_path / "demo.md"
    body = "true\ncat <<EOF\nhi\n  EOF\nkubectl apply\n"
    path.write_text(f"{HEADER}```sh step=one\n{body}```\n")
    runbook, problems = read(path)
    assert runbook is None
    assert [(one.line, one.reason) for one in problems] == [
        (7, "shell: the here-document has no EOF")
    ]
    path.write_text(f"{HEADER}```sh step=one\n{body.replace('  EOF', 'EOF')}```\n")
    assert read(path)[1] == []


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("shell step=two", "a block of shell is not run"),
        ("SH step=two", "a block of SH is not run"),
        ("console check=one", "a block of console is not run"),
        ("{.sh step=two}", "a block of {.sh is not run"),
        ("step=two", "a block of step=two is not run"),
        ("yaml gate=two", "a block of yaml is not run"),
        ("text step=two", "a text block is a gate"),
    ],
)
def test_a_block_that_nobody_would_run_is_told(info: str, reason: str) -> None:
    """A step in a block of another language was taken for prose: the run passed without it."""
    text = HEADER + STEP + f"```{info}\nSure?\n```\n"
    assert [line for line, said in reasons(text) if reason in said] == [8]


def test_a_gate_is_one_wherever_its_name_stands() -> None:
    """With the title first it was prose, and nobody was asked."""
    runbook, problems = parse(
        (HEADER + STEP + '```text title="Sure?" gate=two\nSure?\n```\n').encode(), "demo.md"
    )
    assert problems == []
    assert runbook is not None
    assert [one.id for one in runbook.steps if one.gate] == ["two"]


@pytest.mark.parametrize(
    "prose", ["```text\nstep=1\n```\n", "```yaml title=a.yaml\nx: 1\n```\n", "```markdown\n`step=`\n```\n"]
)  # fmt: skip
def test_what_names_no_step_is_prose(prose: str) -> None:
    """Blocks for people, with attributes of their own."""
    assert reasons(HEADER + STEP + prose) == []


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("\n    ```sh step=two\n    true\n    ```\n", 9, "indented too far"),
        ("\n\t```sh step=two\n\ttrue\n\t```\n", 9, "indented too far"),
        (
            "1. Do it\n\n        ```text gate=two\n        Sure?\n        ```\n",
            10,
            "indented too far",
        ),
        ("Do it:\n    ```sh check=one\n    true\n    ```\n", 9, "within HTML or prose"),
        ("```sh step=`two`\ntrue\n", 8, "within HTML or prose"),
        ("<details>\n```sh step=two\ntrue\n```\n</details>\n", 9, "within HTML or prose"),
        ("```sh\ntrue\n```sh step=two\ntrue\n```\n", 10, "within the one of line 8, which is not"),
        ("```sh step=two\ntrue\n\n~~~\n```sh step=x\n```\n", 12, "within the one of line 8"),
        ("```text\na\0b\n```\n", 9, "a NUL character"),
    ],
)
def test_a_block_that_markdown_loses_is_told(text: str, line: int, reason: str) -> None:
    """Taken for prose or for another block's text, it never ran, and the run passed without it."""
    assert [at for at, said in reasons(HEADER + STEP + text) if reason in said] == [line]


@pytest.mark.parametrize(
    "prose",
    [
        "````markdown\n```sh step=two\ntrue\n```\n````\n",
        "~~~\n```sh step=two\n```\n~~~\n",
        "<!--\n```sh step=two\ntrue\n```\n-->\n",
        "```sh step=two``` is how a step begins.\n",
        "    ```sh\n    true\n    ```\n",
    ],
)
def test_examples_and_comments_are_prose(prose: str) -> None:
    """What shows a block, or is commented out, is not taken for a lost one."""
    assert reasons(HEADER + STEP + "\n" + prose) == []


def test_a_block_indented_by_a_tab_is_closed_by_one() -> None:
    """In a list, as editors indent it."""
    text = HEADER + "1. Do it\n\n\t```sh step=one\n\techo hi\n\t```\n"
    runbook, problems = parse(text.encode(), "demo.md")
    assert problems == []
    assert runbook is not None
    assert runbook.steps[0].script.text == "echo hi\n"


def test_load_unusable_names_lines(tmp_path: Path) -> None:
    """A runbook that is not in order is refused with every reason in the message."""
    path = tmp_path / "demo.md"
    path.write_text(HEADER + STEP + STEP)
    with pytest.raises(UnusableInput, match="line 8: duplicate step id"):
        load(path)


def test_find_unknown_lists_known(tmp_path: Path) -> None:
    """A name that is not there is answered with those that are."""
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "day-0.md").write_text("x")
    assert find("day-0", tmp_path / "runbooks").name == "day-0.md"
    with pytest.raises(UnusableInput) as caught:
        find("day-9", tmp_path)
    assert "day-0" in caught.value.hint


@given(st.text(max_size=300))
def test_parse_any_text_never_raises(text: str) -> None:
    """Any text is either a runbook or a list of problems, never an exception."""
    runbook, problems = parse(text.encode("utf-8", "surrogatepass"), "x.md")
    assert (runbook is None) == bool(problems)


@given(st.lists(st.sampled_from(["```sh step=a\n", "```\n", "> x\n", HEADER, STEP, "true\n"])))
def test_parse_any_blocks_never_raises(blocks: list[str]) -> None:
    """Whatever the order of fences, quotes and headers, reading ends with an answer."""
    runbook, problems = parse("".join(blocks).encode(), "x.md")
    assert (runbook is None) == bool(problems)
