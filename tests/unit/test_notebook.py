"""Cells run as Quarto runs them, and what they leave is text, whatever a student's data look like."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from seedtest_assets.reports.notebook import ReportError, execute

HEAD = "---\ntitle: T\nlang: en\n---\n"
PARAMETERS = '```{python}\n#| tags: [parameters]\ndata = "sample.json"\n```\n'


@pytest.fixture
def run(tmp_path):
    def run(text: str, folder: str = "report") -> tuple[dict[str, str], str]:
        source = tmp_path / "source.qmd"
        source.write_text(text)
        (tmp_path / folder).mkdir(exist_ok=True)
        header, body = execute(source, tmp_path / folder).read_text().split("\n---\n", 1)
        return yaml.safe_load(header), body

    return run


def test_only_asis_output_is_in_the_document(run):
    _, body = run(
        HEAD
        + "before\n```{python}\n#| include: false\nn = 2\nprint('hidden')\n```\n"
        + "```{python}\n#| output: asis\nprint('shown', n, sep='-')\n```\nafter\n"
    )
    assert body.split() == ["before", "shown-2", "after"]


def test_inline_values_are_those_of_their_place(run):
    first = "```{python}\n#| include: false\nn = 1\n```\n"
    second = first.replace("1", "n + 1")
    _, body = run(HEAD + first + "a `{python} n` b `{python} f'{n:03d}'`\n" + second + "`{python} n`")
    assert body.split() == ["a", "1", "b", "001", "2"]


def test_parameters_are_overridden_after_their_cell(run, tmp_path):
    _, body = run(HEAD + PARAMETERS + "`{python} data`")
    assert body.strip() == str(tmp_path / "report" / "report.json")


def test_front_matter_is_filled_in_last_and_cannot_be_broken_out_of(run):
    header, _ = run(
        "---\ntitle: 'For `{python} name`'\nlang: |\n  `{python} lang`\nformat: {html: default}\n---\n"
        "```{python}\n#| include: false\nname, lang = 'a\"\\n---\\nengine: knitr # ', 'ko'\n```\n"
    )
    assert header == {"title": 'For a"\n---\nengine: knitr #', "lang": "ko", "engine": "markdown"}


@pytest.mark.parametrize(
    "value", ["`{python} secret`", "```{python}\n#| output: asis\nprint(secret)\n```", "x\n---\ntitle: y\n---\n"]
)
def test_what_was_inserted_is_not_looked_at_for_code(run, value):
    cell = f"```{{python}}\n#| include: false\nsecret, value = 'sesame', {value!r}\n```\n"
    _, body = run(HEAD + cell + "`{python} value`\n\n```{python}\n#| output: asis\nprint(value)\n```\n")
    assert body.count(value) == 2
    assert "sesame" not in body


def test_a_shortcode_in_data_is_none_in_the_document(run):
    _, body = run(HEAD + "`{python} chr(123) * 2 + '< include /etc/passwd >}}'`")
    assert "{{<" not in body
    assert body == r"{\{< include /etc/passwd >}}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nx / 0", "source.qmd, line 8: ZeroDivisionError"),
        ("def f():\n    raise KeyError('Kim')\nf()", "source.qmd, line 8: KeyError"),
        ("import json\njson.loads('Kim')", "source.qmd, line 8: JSONDecodeError"),
        ("x = 1\nx = (", "source.qmd, line 8: SyntaxError"),
    ],
)
def test_an_error_names_the_line_and_the_type_only(run, code, message):
    with pytest.raises(ReportError) as caught:
        run(HEAD + f"```{{python}}\n#| include: false\n{code}\n```\n")
    assert str(caught.value) == message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_an_inline_error_names_its_line(run):
    with pytest.raises(ReportError, match=r"^source\.qmd, line 6: NameError$"):
        run(HEAD + "one\n`{python} nothing`\n")


def test_documents_share_no_namespace(run):
    run(HEAD + "```{python}\n#| include: false\nleft = 1\n```\n")
    with pytest.raises(ReportError, match="NameError"):
        run(HEAD + "`{python} left`")


def test_two_at_once_print_into_their_own_documents(tmp_path, monkeypatch):
    # Each waits for the other between its two lines: with one output for both, they would mix.
    cell = "import threading\nprint(data)\nthreading.barrier.wait(30)\nprint(data)\n"
    source = tmp_path / "source.qmd"
    source.write_text(HEAD + PARAMETERS + f"```{{python}}\n#| output: asis\n{cell}```\n")
    monkeypatch.setattr(threading, "barrier", threading.Barrier(2), raising=False)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor() as pool:
        documents = list(pool.map(execute, [source, source], folders))
    for folder, document in zip(folders, documents, strict=True):
        assert document.read_text().split()[-2:] == [str(folder / "report.json")] * 2
        assert document.read_text().count("report.json") == 2


def test_a_changed_document_is_run_as_it_is_now(run):
    assert run(HEAD + "`{python} 1`")[1] == "1"
    assert run(HEAD + "`{python} 2`")[1] == "2"


def test_half_a_character_does_not_stop_a_report(run):
    _, body = run(HEAD + "`{python} 'Kim ' + chr(0xD800)`")
    assert body == "Kim ?"
