"""JUnit XML, which CI systems show as test results: a test case for every comparison.

The form is the one that Jenkins, GitLab and GitHub's viewers read: `testsuites/testsuite/testcase`
with `failure`, `error` (the comparison was refused) or `skipped` inside.
"""

import re
from xml.etree import ElementTree

from pipeline.regression.result import GateResult, Quantity, Row
from pipeline.regression.table import NAMES

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for, not even escaped (section 2.2, `Char`)."""


_ALLOWED: dict[Quantity, str] = {
    "top1": "may lose {:g}",
    "top1_drop": "may grow by {:g}",
    "bytes": "may be {:g} times as many",
    "seconds": "may be {:g} times as many",
    "latency_ms": "may be {:g} times as many",
}
"""What a row's limit means."""


def junit_text(result: GateResult) -> str:
    """The file's text. Of the texts in a report nothing is taken for markup."""
    failures = sum(row.verdict == "FAIL" for row in result.rows)
    skipped = sum(row.verdict == "SKIPPED" for row in result.rows)
    errors = 1 if result.refused else 0
    counts = {
        "tests": str(len(result.rows) + errors),
        "failures": str(failures),
        "errors": str(errors),
        "skipped": str(skipped),
    }
    suites = ElementTree.Element("testsuites", {"name": "pipeline gate", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _text(result.title), **counts})
    if result.refused:
        case = _case(suite, result, "gate", "report and baseline can be compared")
        reasons = "\n".join(map(str, result.refused))
        _outcome(case, "error", "unlike things are not compared", reasons)
    for row in result.rows:
        case = _case(suite, result, row.stage, NAMES[row.quantity])
        if row.verdict == "FAIL":
            _outcome(case, "failure", row.reason, _numbers(row))
        elif row.verdict == "SKIPPED":
            _outcome(case, "skipped", row.reason, "")
    if result.notes:
        notes = ElementTree.SubElement(suite, "system-out")
        notes.text = _text("\n".join(map(str, result.notes)))
    ElementTree.indent(suites, " ")
    body = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _case(
    suite: ElementTree.Element, result: GateResult, stage: str, name: str
) -> ElementTree.Element:
    target = result.target or "none"
    return ElementTree.SubElement(
        suite,
        "testcase",
        {"classname": _text(f"{result.recipe}.{target}.{stage}"), "name": name, "time": "0"},
    )


def _outcome(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    outcome = ElementTree.SubElement(case, kind, {"message": _text(message)})
    outcome.text = _text(text) or None


def _numbers(row: Row) -> str:
    numbers = f"baseline {row.baseline}, now {row.now}"
    if row.limit is None:
        return numbers
    return f"{numbers}, {_ALLOWED[row.quantity].format(row.limit)}"


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
