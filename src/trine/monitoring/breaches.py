"""From a verdict to alerts: which rules were breached, and which were judged and found quiet."""

from __future__ import annotations

from trine.monitoring.verdicts import Verdict

_RULE_OF_TEST = {"distribution": "drift", "missing": "missing", "unseen": "unseen", "range": "range"}
_SCHEMA = frozenset({"column_missing", "column_added", "column_retyped"})
_TESTED = frozenset({"missing_share", "unseen_values"})

Key = tuple[str, str]


def breaches(verdict: Verdict) -> dict[Key, str]:
    """(rule, column) of everything that is wrong, with the sentence to tell."""
    found: dict[Key, str] = {}
    if verdict.outcome == "no_data":
        return {("no_data", ""): verdict.reason or "No rows in the window."}
    for column in verdict.columns:
        for test in column.tests:
            if test.failed:
                text = f"{test.method}: effect {test.effect:.3g} (threshold {test.at_least:g}), q = {test.q or 0:.2g}"
                found[_RULE_OF_TEST[test.name], column.column] = text
    for finding in verdict.findings:
        if finding.serious and finding.kind not in _TESTED:
            rule = "schema" if finding.kind in _SCHEMA else "range" if finding.kind == "out_of_range" else "quality"
            found.setdefault((rule, finding.column), finding.message)
    for metric in verdict.performance.metrics if verdict.performance else ():
        if metric.worse:
            text = f"{metric.name} {metric.value:.4f} against {metric.baseline:.4f} at acceptance"
            found["performance", metric.name] = text
    return found


def is_judged(verdict: Verdict, key: Key) -> bool:
    """Whether the verdict can say that this rule is quiet; what could not be judged leaves its alert as it is."""
    rule, column = key
    if rule == "no_data":
        return True
    if verdict.outcome == "no_data":
        return False
    if rule == "performance":
        reports = verdict.performance.metrics if verdict.performance else ()
        return any(one.name == column and one.value is not None and one.baseline is not None for one in reports)
    if rule in ("schema", "quality"):
        return True
    mine = [one for one in verdict.columns if one.column == column]
    if not mine:  # not asked about any more, unless it is missing or of another type
        return not any(one.column == column and one.kind in _SCHEMA for one in verdict.findings)
    if rule == "drift":
        return any(test.name == "distribution" for one in mine for test in one.tests)
    return any(one.state in ("ok", "moved") for one in mine)
