"""A gate policy as fields: its suites, a line for each thing it judges, and what nobody may break.

The fields and the JSON are two views of one content: what stands in one comes back in the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms
from django.forms import BaseFormSet, formset_factory
from django.http import QueryDict

from dashboards.setup_page import WhyForm
from governance.evals.evaluators import current_evaluator
from governance.evals.models import GatePolicy, SuiteVersion
from governance.evals.policy import METRICS, SCORE, Metric, metric_named
from governance.workflows.models import Workflow

PRIMARY, GUARDRAIL, FLOOR = "primary", "guardrail", "floor"
ROLES = (
    (PRIMARY, "has to get better, by at least"),
    (GUARDRAIL, "may not get worse, by more than"),
    (FLOOR, "has a limit of"),
)
MOST_LINES, BLANK_LINES = 20, 2
AS_NUMBER = ":number"  # after the name of a scorer whose value is compared as a number
KINDS = SuiteVersion.Kind.choices
RECENT_DAYS = 14


class ClassForm(WhyForm):
    """For which class of change, and why."""

    risk = forms.ChoiceField(choices=GatePolicy.Risk.choices, required=False)


class SuitesForm(forms.Form):
    """What each suite has to bring, what nobody may break, and how sure one has to be."""

    golden = forms.IntegerField(min_value=1, max_value=100_000, required=False)
    recent = forms.IntegerField(min_value=1, max_value=100_000, required=False)
    adversarial = forms.IntegerField(min_value=1, max_value=100_000, required=False)
    recent_days = forms.IntegerField(min_value=1, max_value=RECENT_DAYS, required=False)
    must_pass = forms.BooleanField(required=False)
    policy_violations = forms.BooleanField(required=False)
    confidence = forms.FloatField(min_value=80, max_value=99.9)
    max_errored_percent = forms.FloatField(min_value=0, max_value=20)
    evaluator = forms.CharField(max_length=71, required=False)

    def content(self) -> dict[str, Any]:
        """This part of the policy's content; the form is valid."""
        said = self.cleaned_data
        suites: dict[str, Any] = {
            kind: {"min_cases": said[kind]} for kind, _ in KINDS if said[kind] is not None
        }
        if "recent" in suites:
            suites["recent"]["max_age_days"] = said["recent_days"] or RECENT_DAYS
        found = {
            "suites": suites,
            "hard_rules": [name for name in ("must_pass", "policy_violations") if said[name]],
            "confidence": round(said["confidence"] / 100, 6),
            "max_errored_percent": said["max_errored_percent"],
        }
        return {**found, "evaluator": said["evaluator"]} if said["evaluator"] else found


class LineForm(forms.Form):
    """One thing that is judged. A line without a metric says nothing."""

    metric = forms.CharField(max_length=60, required=False)
    role = forms.ChoiceField(choices=ROLES, required=False)
    amount = forms.FloatField(required=False)
    suites = forms.MultipleChoiceField(choices=KINDS, required=False)
    direction = forms.ChoiceField(
        choices=[("", ""), ("higher", "more is better"), ("lower", "less is better")],
        required=False,
    )

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if not said.get("metric"):
            return {}
        metric = _metric(said["metric"])
        if metric is None:
            raise forms.ValidationError(f"There is no metric {said['metric']}.")
        if not said.get("suites"):
            raise forms.ValidationError(f"{metric.label}: choose at least one suite.")
        if said.get("amount") is None and said.get("role") != PRIMARY and not self.errors:
            what = "margin" if said["role"] == GUARDRAIL else "limit"
            raise forms.ValidationError(f"{metric.label}: write its {what}.")
        return said

    def entry(self) -> dict[str, Any]:
        """This line of the policy's content; the form is valid and has a metric."""
        said = self.cleaned_data
        metric = _metric(said["metric"])
        assert metric is not None  # noqa: S101 - checked above
        found: dict[str, Any] = {"metric": metric.name, "suites": said["suites"]}
        if metric.unit == "number":
            found["as_number"] = True
        if said["direction"]:
            found["direction"] = said["direction"]
        if said["amount"] is not None:
            found[_key(said["role"], metric)] = said["amount"]
        return found


def _metric(name: str) -> Metric | None:
    return metric_named(name.removesuffix(AS_NUMBER), as_number=name.endswith(AS_NUMBER))


def _key(role: str, metric: Metric) -> str:
    if role == FLOOR:
        return "limit_percent"
    return metric.improvement_key if role == PRIMARY else metric.margin_key


Lines = formset_factory(
    LineForm, extra=BLANK_LINES, max_num=MOST_LINES, validate_max=True, absolute_max=MOST_LINES
)


class PolicyFields:
    """Everything that the page asks for, bound to what was typed or to a policy's content."""

    def __init__(self, content: Mapping[str, Any], typed: QueryDict | None = None) -> None:
        self.suites = SuitesForm(typed, initial=_suites_of(content))
        self.lines: BaseFormSet[LineForm] = Lines(
            typed, prefix="line", initial=list(_lines_of(content))
        )

    @property
    def error(self) -> str:
        """The first sentence of what is wrong; "" where nothing is."""
        for form in (self.suites, *self.lines.forms):
            for name, errors in form.errors.items():
                label = "" if name == "__all__" else f"{name.replace('_', ' ').capitalize()}: "
                return f"{label}{errors[0]}"
        whole = self.lines.non_form_errors()
        if whole:
            return str(whole[0])
        if sum(line.cleaned_data.get("role") == PRIMARY for line in self._said()) > 1:
            return "Only one metric has to get better: the others may not get worse."
        return ""

    def _said(self) -> list[LineForm]:
        return [line for line in self.lines.forms if line.cleaned_data.get("metric")]

    def content(self) -> dict[str, Any]:
        """The policy's content; only where there is no error."""
        entries: dict[str, list[dict[str, Any]]] = {PRIMARY: [], GUARDRAIL: [], FLOOR: []}
        for line in self._said():
            entries[line.cleaned_data["role"]].append(line.entry())
        primary = {"primary": entries[PRIMARY][0]} if entries[PRIMARY] else {}
        return {
            **self.suites.content(),
            **primary,
            "guardrails": entries[GUARDRAIL],
            "floors": entries[FLOOR],
        }


def _suites_of(content: Mapping[str, Any]) -> dict[str, Any]:
    suites = content.get("suites", {})
    rules = content.get("hard_rules", ("must_pass", "policy_violations"))
    return {
        **{kind: rule.get("min_cases", 1) for kind, rule in suites.items()},
        "recent_days": suites.get("recent", {}).get("max_age_days", RECENT_DAYS),
        "must_pass": "must_pass" in rules,
        "policy_violations": "policy_violations" in rules,
        "confidence": round(100 * content.get("confidence", 0.95), 4),
        "max_errored_percent": content.get("max_errored_percent", 2.0),
        "evaluator": content.get("evaluator") or "",
    }


def _lines_of(content: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    kinds = [kind for kind, _ in KINDS if kind in content.get("suites", {})]
    entries: list[tuple[str, Mapping[str, Any]]] = []
    if content.get("primary"):
        entries.append((PRIMARY, content["primary"]))
    entries += [(GUARDRAIL, entry) for entry in content.get("guardrails", ())]
    entries += [(FLOOR, entry) for entry in content.get("floors", ())]
    for role, entry in entries:
        as_number = entry.get("as_number") is True
        metric = metric_named(entry["metric"], as_number=as_number)
        yield {
            "metric": entry["metric"] + (AS_NUMBER if as_number else ""),
            "role": role,
            "amount": entry.get(_key(role, metric)) if metric else None,
            "suites": entry.get("suites", kinds[:1] if role == PRIMARY else kinds),
            "direction": entry.get("direction", ""),
        }


def metrics_of(workflow: Workflow, content: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Return what can be chosen: metrics, the workflow's scorers, what is judged already."""
    found = {name: _labelled(metric) for name, metric in METRICS.items()}
    evaluator = current_evaluator(workflow)
    for entry in evaluator.content["scorers"] if evaluator else ():
        for suffix in ("", AS_NUMBER):
            metric = _metric(f"{SCORE}{entry['name']}{suffix}")
            if metric is not None:
                found[f"{metric.name}{suffix}"] = _labelled(metric)
    for line in _lines_of(content):
        metric = _metric(line["metric"])
        found.setdefault(line["metric"], _labelled(metric) if metric else line["metric"])
    return list(found.items())


def _labelled(metric: Metric) -> str:
    unit = {"money": " (% of the cost)", "ms": " (% of the time)", "number": " (as a number)"}
    return f"{metric.label}{unit.get(metric.unit, '')}"
