"""The pages of a report as text and tables, the same for every output format. Computes no figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smartroute.analytics.readings import digits, moment

if TYPE_CHECKING:
    from smartroute.analytics.report import Metric, Quality, Report, Row
    from smartroute.analytics.savings import Holdback, Mix, Saving
    from smartroute.stats.intervals import Interval

_UNKNOWN = "-"
_INSIGHTS = "Insights"


@dataclass(frozen=True, slots=True)
class Page:
    """A section of a report: its title, a table (which may have no rows), and lines below it.

    Only the lines of insights have line breaks; what follows a break is indented.
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()


def pages(report: Report) -> tuple[Page, ...]:
    """Return the pages of a report, the most important first. The title of each says if it is simulated."""
    contents = tuple(
        page
        if page.title == _INSIGHTS
        else replace(page, lines=tuple(" ".join(line.split()) for line in page.lines))
        for page in _pages(report)
    )
    if report.simulated:
        return tuple(replace(page, title=f"{page.title} (simulated)") for page in contents)
    return contents


def _pages(report: Report) -> Iterator[Page]:
    if not report.requests:
        nothing = f"{report.population}: there is nothing to report yet"
        yield Page("Report", lines=(nothing, *report.notes))
        return
    yield _first_page(report)
    yield Page(
        "Savings by baseline",
        ("baseline", "method", "saved", "95% interval", "baseline cost", "our cost", "n"),
        tuple(_saving_row(saving) for saving in report.savings),
        (
            *(f"{saving.baseline}: {saving.note}" for saving in report.savings if saving.note),
            *_mix_lines(report.mix),
            *_holdback_lines(report.holdback),
        ),
    )
    yield _insights_page(report)
    if report.fixed:
        yield _fixed_page(report)
    for name, rows in report.rows.items():
        yield _group_page(name, rows)
    if report.quality:
        yield _quality_page(report)
    if report.notes:
        yield Page("Notes", lines=report.notes)


def _first_page(report: Report) -> Page:
    overhead = ", ".join(f"{purpose} {_usd(usd)}" for purpose, usd in sorted(report.overhead_usd.items()))
    latency = ", ".join(f"{name} {_seconds(value)}" for name, value in report.latency_s.items())
    return Page(
        "Report",
        ("measure", "value", "95% interval", "target", "met", "n"),
        tuple(_metric_row(metric) for metric in report.metrics),
        (
            f"{report.population}, from {moment(report.first)} to {moment(report.last)}",
            f"cost {'at least ' if report.unpriced else ''}{_usd(report.cost_usd)}, "
            f"{report.answered} of {report.requests} answered",
            f"of that, rejected answers {_usd(report.rejected_usd)}" + (f"; {overhead}" if overhead else ""),
            f"latency {latency} (quantiles within 5%)",
            *(f"{metric.name}: {metric.note}" for metric in report.metrics if metric.note),
        ),
    )


def _metric_row(metric: Metric) -> tuple[str, ...]:
    show = _seconds if metric.name == "latency" else _number if metric.name == "confidence" else _share
    met = {True: "yes", False: "no", None: "open"}[metric.met]
    return (
        metric.name,
        show(metric.value),
        _range(metric.interval, plain=metric.name in ("latency", "confidence")),
        metric.target,
        met,
        str(metric.n),
    )


def _saving_row(saving: Saving) -> tuple[str, ...]:
    return (
        saving.baseline,
        saving.how,
        _share(saving.share),
        _range(saving.interval),
        _usd(saving.baseline_usd),
        _usd(saving.cost_usd),
        str(saving.n),
    )


def _insights_page(report: Report) -> Page:
    if not report.insights:
        return Page(_INSIGHTS, lines=("nothing to act on: no finding that chance alone could not explain",))
    return Page(
        _INSIGHTS,
        lines=tuple(insight.explain() for insight in report.insights),
    )


def _mix_lines(mix: Mix | None) -> list[str]:
    if mix is None:
        return []
    comparison = (
        f"routing compared with that mix: {mix.verdict} so far"
        if mix.interval is None
        else f"routing is {mix.verdict} than that mix: quality {mix.routed_quality:.3f}, "
        f"a difference of {_effect(mix.gain, mix.interval)}"
    )
    return [f"a random mix of the same cost: {mix}", comparison]


def _holdback_lines(holdback: Holdback | None) -> list[str]:
    if holdback is None:
        return []
    cost = holdback.cost_usd
    return [
        f"measured difference in cost: {_signed_usd(cost.value)} a request{_usd_range(cost.interval)}",
        *(
            f"measured difference in quality by {source}: {_effect(effect.value, effect.interval)} "
            f"(n = {effect.n_routed} routed, {effect.n_held} held back)"
            for source, effect in holdback.quality.items()
        ),
    ]


def _effect(value: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{value:+.3f} (too few labels for an interval)"
    # Adding 0.0 turns -0.000 into 0.000.
    low, value, high = (round(number, 3) + 0.0 for number in (interval.low, value, interval.high))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _fixed_page(report: Report) -> Page:
    return Page(
        "Every request to one model",
        ("model", "cost", "we saved", "95% interval", "quality", "labels"),
        tuple(
            (
                fixed.model,
                _usd(fixed.cost_usd),
                _share(fixed.saving.share),
                _UNKNOWN if fixed.cost_usd is None else _range(fixed.saving.interval),
                _number(fixed.quality.mean),
                str(fixed.quality.n),
            )
            for fixed in report.fixed
        ),
        (
            "repriced: our answers' tokens at each model's prices; another model may write more or less",
            "quality covers only the answers that the model gave under routing, which may be easier tasks",
        ),
    )


def _group_page(name: str, rows: tuple[Row, ...]) -> Page:
    return Page(
        f"By {name}",
        (
            *(name, "requests", "cost", "per request", "escalated", "errors"),
            *("confidence", "quality", "p50", "p95", "saved"),
        ),
        tuple(
            (
                ", ".join(value or _UNKNOWN for value in row.group),
                str(row.requests),
                _usd(row.cost_usd),
                _usd(row.mean_cost_usd),
                _share(row.escalation_rate),
                _share(row.error_rate),
                _number(row.mean_confidence),
                _UNKNOWN if row.mean_quality is None else f"{row.mean_quality:.3f} ({row.labels})",
                _seconds(row.latency_p50_s),
                _seconds(row.latency_p95_s),
                _share(row.saved_share),
            )
            for row in rows
        ),
        ("in brackets after quality: the number of labels",),
    )


def _quality_page(report: Report) -> Page:
    return Page(
        "Quality by source",
        ("source", "mean", "95% interval", "n", "labels"),
        tuple(_quality_row(quality) for quality in report.quality),
        (
            *(line for quality in report.quality for line in _judge_lines(quality)),
            *(
                f"{quality.source}: answers of confidence {confidence:.2f} had quality {mean:.2f} (n = {n})"
                for quality in report.quality
                for confidence, mean, n in quality.calibration
            ),
        ),
    )


def _judge_lines(quality: Quality) -> list[str]:
    both = quality.with_judge
    if both is None:
        return []
    subject = f"{quality.source} and judge together, over {both.n_labels + both.n_judged} judged answers"
    if not quality.judge_helps:
        return [f"{subject}: the judge adds nothing to the labels of source {quality.source}"]
    return [
        f"{subject}: {both.value:.3f}, {_range(both.interval, plain=True)}, "
        f"narrower than with {quality.source} alone"
    ]


def _quality_row(quality: Quality) -> tuple[str, ...]:
    labels = ", ".join(f"{label} {count}" for label, count in sorted(quality.words.items()))
    return (
        quality.source,
        _number(quality.mean),
        _range(quality.interval, plain=True),
        str(quality.n),
        labels or _UNKNOWN,
    )


def _share(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3f}"


def _seconds(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{digits(value, 3)} s"


def _usd(value: float | None) -> str:
    """Return an amount: from a dollar on with cents, below with four significant digits."""
    if value is None:
        return _UNKNOWN
    if abs(value) >= 1 or value == 0:
        return f"${value:,.2f}"
    return f"${value:.{min(12, 3 - math.floor(math.log10(abs(value))))}f}"


def _signed_usd(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{_usd(abs(value))}"


def _usd_range(interval: Interval | None) -> str:
    if interval is None:
        return " (too few for an interval)"
    return f" [{_signed_usd(interval.low)}, {_signed_usd(interval.high)}]"


def _range(interval: Interval | None, *, plain: bool = False) -> str:
    if interval is None:
        return "too few" if not plain else _UNKNOWN
    if plain:
        return f"{digits(interval.low, 3)} to {digits(interval.high, 3)}"
    return f"{interval.low:.1%} to {interval.high:.1%}"
