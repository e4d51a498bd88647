"""Compose everything that a report says into one record. Whatever shows it computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from smartroute.analytics.figures import CONFIDENCE_BINS, COUNCIL, JUDGE, Figures, Labels
from smartroute.analytics.filter import Filter
from smartroute.analytics.insights import GROUPINGS, Evidence, Insight, insights_in
from smartroute.analytics.query import Analytics
from smartroute.analytics.readings import moment
from smartroute.analytics.savings import (
    FixedModel,
    Holdback,
    Mix,
    Saving,
    against_declared,
    against_mix,
    fixed_models,
    measured,
)
from smartroute.catalog import Catalog
from smartroute.pricing.price import PriceTable
from smartroute.stats.intervals import Interval, wilson
from smartroute.stats.moments import Moments
from smartroute.stats.prediction_powered import (
    LEAST_LABELS,
    PredictionPowered,
    prediction_powered_from_moments,
)

LEVEL = 0.95
ENOUGH = 30
"""With fewer requests a measure stays open, whatever its value."""

_NAMED = 5
"""How many models a note names."""

ENOUGH_LABELS = 30
"""How many labels a mean needs before an interval stands beside it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measure of success: its value, the target in words, and whether it is met; None: open."""

    name: str
    value: float | None
    target: str
    met: bool | None
    n: int
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one group. Shares are of the group's requests; quantiles are within 5%."""

    group: tuple[str | None, ...]
    requests: int
    cost_usd: float
    cost_share: float | None
    mean_cost_usd: float | None
    escalation_rate: float | None
    error_rate: float | None
    mean_confidence: float | None
    confidence_interval: Interval | None
    labels: int
    mean_quality: float | None
    quality_interval: Interval | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    unpriced: int
    saved_share: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """What one source said of the answers: the mean quality over `n` labels, and its interval."""

    source: str
    n: int
    mean: float | None
    interval: Interval | None
    words: dict[str, int]
    with_judge: PredictionPowered | None
    """The mean of all judged answers: a judge's many labels, set right by these few; None without either."""
    judge_helps: bool
    """Whether that tells more than this source alone: its interval is narrower, and not by luck."""
    calibration: tuple[tuple[float, float, int], ...]
    """By tenth of confidence: the mean confidence, the mean quality, and how many labels."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a log says about a period. Money is USD, time seconds, shares lie in [0, 1]."""

    population: str
    first: str | None
    last: str | None
    simulated: bool | None
    requests: int
    answered: int
    cost_usd: float
    unpriced: int
    overhead_usd: dict[str, float]
    rejected_usd: float
    metrics: tuple[Metric, ...]
    savings: tuple[Saving, ...]
    fixed: tuple[FixedModel, ...]
    best_fixed: str | None
    mix: Mix | None
    holdback: Holdback | None
    latency_s: dict[str, float | None]
    quality: tuple[Quality, ...]
    insights: tuple[Insight, ...]
    rows: dict[str, tuple[Row, ...]]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON; what is beyond what a number can be is None."""
        return {name: _finite(value) for name, value in asdict(self).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def compose(
    analytics: Analytics,
    where: Filter | None = None,
    *,
    prices: PriceTable | None = None,
    catalog: Catalog | None = None,
    group_by: Sequence[str] | str = ("model", "complexity", "kind"),
    label_source: str = "user",
) -> Report:
    """Return the report on the outcomes that count.

    With `prices` (by default those of the `catalog`) the models of the log are repriced, for the dearest,
    the best fixed one and the mix. The best fixed model is the one whose answers `label_source` thought
    best: without such labels there is none. With a `catalog` the insights may propose models of it.
    `group_by` names dimensions, or several that are joined, as "kind+model".
    """
    where = where or Filter()
    if prices is None and catalog is not None:
        prices = catalog.prices()
    asked = (group_by,) if isinstance(group_by, str) else group_by
    groupings = {name: tuple(name.split("+")) for name in asked}
    wanted = dict.fromkeys((*GROUPINGS, ("baseline",), ("simulated",), *groupings.values()))
    tables = analytics.several(wanted, where)
    figures = tables[()].get((), Figures())
    span = _span(tables, figures)
    first, last, simulated = span.first, span.last, span.simulated
    # The verdict of a council is nobody's answer: there is no such model to send everything to.
    singles = {
        model
        for kind, _, model in tables["kind", "complexity", "model"]
        if model is not None and kind != COUNCIL
    }
    fixed = _fixed(figures, prices, catalog, tables["model",], singles, label_source)
    best = _best(fixed)
    said = figures.labels.get(label_source, Labels())
    declared, holdback = against_declared(figures, span.baseline), measured(figures)
    savings = [
        declared, *_others(fixed, best, said.quality), *([holdback.saving] if holdback else [])
    ]  # fmt: skip
    return Report(
        population=_population(where, figures),
        first=first,
        last=last,
        simulated=simulated,
        requests=figures.requests,
        answered=figures.answered,
        cost_usd=figures.cost_usd,
        unpriced=figures.unpriced,
        overhead_usd=dict(figures.overhead_usd),
        rejected_usd=figures.rejected_usd,
        metrics=_metrics(figures, declared, _before(analytics, where, first, last)),
        savings=tuple(savings),
        fixed=fixed,
        best_fixed=None if best is None else best.model,
        mix=against_mix(fixed, said.quality),
        holdback=holdback,
        latency_s={f"p{round(100 * q)}": figures.latencies.quantile(q) for q in (0.5, 0.95, 0.99)},
        quality=tuple(_quality(source, figures) for source in sorted(figures.labels)),
        insights=insights_in(Evidence(tables, prices, catalog, label_source)),
        rows={
            name: tuple(
                _row(key, each, figures, label_source) for key, each in _ordered(names, tables[names])
            )
            for name, names in groupings.items()
        },
        notes=(
            *([] if figures.requests else analytics.unmet(where)),
            *_unreadable(analytics),
            *_notes(figures, fixed, best, label_source),
        ),
    )


class _Span(NamedTuple):
    """When the outcomes were, whether they are simulated, and what their declared baseline is called."""

    first: str | None
    last: str | None
    simulated: bool | None
    baseline: str


def _span(
    tables: Mapping[tuple[str, ...], Mapping[tuple[str | None, ...], Figures]], figures: Figures
) -> _Span:
    names = sorted(
        key[0] for key, group in tables["baseline",].items() if key[0] is not None and group.compared.n
    )
    told = f"the declared baseline, {', '.join(names)}" if names else "no declared baseline"
    kinds = [key[0] for key in tables["simulated",]]
    return _Span(figures.first, figures.last, kinds[0] == "True" if kinds else None, told)


def _before(analytics: Analytics, where: Filter, first: str | None, last: str | None) -> Figures | None:
    """Return the figures of the period of equal length before this one, None where there is none."""
    if where.since is None or first is None or last is None:
        return None
    since = datetime.fromisoformat(str(where.since).replace("Z", "+00:00"))
    until = datetime.fromisoformat(str(where.until or last).replace("Z", "+00:00"))
    length = min(until - since, since - datetime.min.replace(tzinfo=UTC))
    earlier = replace(where, since=since - length, until=since)
    figures = analytics.figures(earlier)
    return figures if figures.requests else None


def _fixed(
    figures: Figures,
    prices: PriceTable | None,
    catalog: Catalog | None,
    by_model: Mapping[tuple[str | None, ...], Figures],
    singles: Set[str],
    label_source: str,
) -> tuple[FixedModel, ...]:
    if prices is None:
        return ()
    quality = {
        key[0]: group.labels[label_source].quality
        for key, group in by_model.items()
        if key[0] is not None and label_source in group.labels
    }
    return fixed_models(figures, prices, sorted(singles), quality, catalog=catalog)


def _best(fixed: Sequence[FixedModel]) -> FixedModel | None:
    known = [f for f in fixed if f.cost_usd is not None and f.quality.n >= ENOUGH_LABELS]
    return max(known, key=lambda f: (f.quality.mean or 0.0, -(f.cost_usd or 0.0)), default=None)


def _others(fixed: Sequence[FixedModel], best: FixedModel | None, said: Moments) -> list[Saving]:
    """Return the savings against the best fixed model, the cheapest as good as routing, and the dearest."""
    priced = [f for f in fixed if f.cost_usd]
    dearest = max(priced, key=lambda f: f.cost_usd or 0.0, default=None)
    as_good = min(
        (f for f in priced if f.quality.n >= ENOUGH_LABELS and (f.quality.mean or 0.0) >= (said.mean or 0.0)),
        key=lambda f: f.cost_usd or 0.0,
        default=None,
    )
    found = []
    for name, model in (
        ("the best fixed model", best),
        ("the cheapest as good as routing", None if as_good is best else as_good),
        ("the dearest model", dearest),
    ):
        if model is not None and model.cost_usd:
            note = model.saving.note
            if model.quality.n and said.n:
                note += (
                    f"; quality {model.quality.mean:.3f} over {model.quality.n} labels, "
                    f"routing's {said.mean:.3f} over {said.n}"
                )
            found.append(replace(model.saving, baseline=f"{name}, {model.model}", note=note))
    return found


def _metrics(figures: Figures, declared: Saving, before: Figures | None) -> tuple[Metric, ...]:
    n = figures.requests
    rate = figures.escalated / n if n else None
    errors = figures.failures / n if n else None
    confidence = figures.confidence
    return (
        Metric(
            "savings", declared.share, "at least 70%", _at_least(declared.share, 0.70, declared.n),
            declared.n, declared.interval, f"against {declared.baseline}, repriced",
        ),
        Metric(
            "confidence", confidence.mean, "at least 0.75", _at_least(confidence.mean, 0.75, confidence.n),
            confidence.n, _mean_interval(confidence),
            f"known for {confidence.n} of {figures.answered} answers",
        ),
        Metric(
            "escalations", rate, "at most 25%", None if rate is None or n < ENOUGH else rate <= 0.25, n,
            wilson(figures.escalated, n, LEVEL) if n else None,
        ),
        _error_metric(figures, errors, before),
        _latency_metric(figures, before),
    )  # fmt: skip


def _error_metric(figures: Figures, errors: float | None, before: Figures | None) -> Metric:
    interval = wilson(figures.failures, figures.requests, LEVEL) if figures.requests else None
    if before is None or errors is None:
        return Metric("errors", errors, "no more than before", None, figures.requests, interval, _NO_BEFORE)
    earlier = before.failures / before.requests
    met = errors <= earlier if min(before.requests, figures.requests) >= ENOUGH else None
    return Metric(
        "errors", errors, "no more than before", met, figures.requests, interval,
        f"before: {earlier:.2%} of {before.requests}",
    )  # fmt: skip


def _latency_metric(figures: Figures, before: Figures | None) -> Metric:
    mean, n = figures.latency.mean, figures.latency.n
    interval = _mean_interval(figures.latency, bounded=False)
    earlier = None if before is None else before.latency.mean
    if mean is None or before is None or not earlier:
        return Metric("latency", mean, "at most 10% more than before", None, n, interval, _NO_BEFORE)
    met = mean <= 1.1 * earlier if min(n, before.latency.n) >= ENOUGH else None
    return Metric(
        "latency", mean, "at most 10% more than before", met, n, interval,
        f"before: {earlier:.3f} s on average",
    )  # fmt: skip


_NO_BEFORE = "no earlier period of the same length: ask for one with since"


def _at_least(value: float | None, target: float, n: int) -> bool | None:
    return None if value is None or n < ENOUGH else value >= target


def _mean_interval(moments: Moments, *, bounded: bool = True) -> Interval | None:
    """Return the large-sample interval of a mean; None for fewer than 30 values."""
    from statistics import NormalDist

    mean, variance = moments.mean, moments.variance
    if mean is None or variance is None or moments.n < ENOUGH_LABELS:
        return None
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * (variance / moments.n) ** 0.5
    low, high = mean - half, mean + half
    return Interval(max(0.0, low), min(1.0, high), LEVEL) if bounded else Interval(max(0.0, low), high, LEVEL)


def _quality(source: str, figures: Figures) -> Quality:
    labels = figures.labels[source]
    interval, together = _mean_interval(labels.quality), _with_judge(labels, figures)
    curve = []
    for place in range(CONFIDENCE_BINS):
        both = labels.by_confidence.get(place)
        if both is not None and both.n:
            curve.append((both.other_total / both.n, both.total / both.n, both.n))
    return Quality(
        source,
        labels.quality.n,
        labels.quality.mean,
        interval,
        {word: n for word, n in labels.words.items() if n},
        together,
        together is not None
        and together.judge_helps
        and (interval is None or _width(together.interval) < _width(interval)),
        tuple(curve),
    )


def _with_judge(labels: Labels, figures: Figures) -> PredictionPowered | None:
    """Return what the judge's labels and these say together, None where there are too few of either."""
    both, judged = labels.with_judge, figures.labels.get(JUDGE, Labels()).quality
    alone = Moments(
        judged.n - both.n, judged.total - both.other_total, max(0.0, judged.squares - both.other_squares)
    )
    if both.n < LEAST_LABELS or alone.n < 2:
        return None
    return prediction_powered_from_moments(both, alone, LEVEL)


def _width(interval: Interval) -> float:
    return interval.high - interval.low


def _row(group: tuple[str | None, ...], figures: Figures, total: Figures, label_source: str) -> Row:
    n, pairs = figures.requests, figures.compared
    quality = figures.labels.get(label_source, Labels()).quality
    return Row(
        group=group,
        requests=n,
        cost_usd=figures.cost_usd,
        cost_share=figures.cost_usd / total.cost_usd if total.cost_usd else None,
        mean_cost_usd=figures.cost.mean,
        escalation_rate=figures.escalated / n,
        error_rate=figures.failures / n,
        mean_confidence=figures.confidence.mean,
        confidence_interval=_mean_interval(figures.confidence),
        labels=quality.n,
        mean_quality=quality.mean,
        quality_interval=_mean_interval(quality),
        latency_p50_s=figures.latencies.quantile(0.5),
        latency_p95_s=figures.latencies.quantile(0.95),
        unpriced=figures.unpriced,
        saved_share=1.0 - pairs.cost / pairs.baseline if pairs.baseline > 0 else None,
    )


def _ordered(
    names: tuple[str, ...], groups: Mapping[tuple[str | None, ...], Figures]
) -> list[tuple[tuple[str | None, ...], Figures]]:
    """Return the groups in the order of time where they begin with one, and else what cost most first."""
    if names[0] in ("hour", "day"):
        return sorted(groups.items(), key=lambda item: str(item[0]))
    return sorted(groups.items(), key=lambda item: (-item[1].cost_usd, str(item[0])))


def _population(where: Filter, figures: Figures) -> str:
    given = [f"{name} {_told(name, value)}" for name, value in asdict(where).items() if value is not None]
    return f"{figures.requests} requests" + (f" with {', '.join(given)}" if given else "")


def _told(name: str, value: str) -> str:
    whole_minute = name in ("since", "until") and value.endswith(":00.000000Z")
    return moment(value) if whole_minute else value


def _unreadable(analytics: Analytics) -> Iterator[str]:
    bad, foreign = analytics.unreadable()
    if bad:
        yield f"{bad} lines of the log could not be read and are not in any figure"
    if foreign:
        yield f"{foreign} events of the other kind, simulated or real, were left out"


def _notes(
    figures: Figures, fixed: Sequence[FixedModel], best: FixedModel | None, label_source: str
) -> tuple[str, ...]:
    notes = []
    if figures.unpriced:
        notes.append(
            f"{figures.unpriced} of {figures.requests} requests "
            f"({figures.unpriced / figures.requests:.1%}) have a call of unknown cost: totals are at least "
            "what they say"
        )
    if unknown := [model.model for model in fixed if model.saving.baseline_usd is None]:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        notes.append(
            f"no price is known for {', '.join(unknown[:_NAMED])}{more}: no comparison has them, until a "
            "catalog gives them one (--models)"
        )
    if fixed and best is None:
        notes.append(
            f"no best fixed model yet: that needs {ENOUGH_LABELS} labels by {label_source} "
            "for the answers of a model"
        )
    if figures.requests and not figures.held.n:
        notes.append("nothing is held back, so savings are estimated and not measured: see holdback_share")
    return tuple(notes)
