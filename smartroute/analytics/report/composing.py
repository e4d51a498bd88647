"""Compose a report: query the log once, and compute its metrics, savings, groups, insights and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TypeAlias

from smartroute.analytics.figures import COUNCIL, Figures, Labels
from smartroute.analytics.filter import Filter
from smartroute.analytics.insights import GROUPINGS, Evidence, insights_in
from smartroute.analytics.query import Analytics
from smartroute.analytics.readings import moment
from smartroute.analytics.report.measures import metrics_of, quality_of, row_of
from smartroute.analytics.report.record import Report, Row
from smartroute.analytics.savings import (
    LEAST_SAMPLE,
    FixedModel,
    Saving,
    against_declared,
    against_mix,
    fixed_models,
    measured,
)
from smartroute.catalog import Catalog
from smartroute.pricing import PriceTable
from smartroute.stats.moments import Moments

Groups: TypeAlias = Mapping[tuple[str | None, ...], Figures]
Tables: TypeAlias = Mapping[tuple[str, ...], Groups]

_NAMED = 5
"""How many models a note names."""


def compose(
    analytics: Analytics,
    where: Filter | None = None,
    *,
    prices: PriceTable | None = None,
    catalog: Catalog | None = None,
    group_by: Sequence[str] | str = ("model", "complexity", "kind"),
    label_source: str = "user",
) -> Report:
    """Return the report on the outcomes that `where` selects.

    With `prices` (by default those of the `catalog`) the log's models are repriced, for the most expensive
    one, the best fixed one and the mix. The best fixed model is the one whose answers have the best labels by
    `label_source`; without such labels there is none. With a `catalog` the insights may propose its models.
    `group_by` names dimensions, or several joined, such as "kind+model".
    Raises ConfigError for an unknown dimension.
    """
    where = where or Filter()
    if prices is None and catalog is not None:
        prices = catalog.prices()
    names = (group_by,) if isinstance(group_by, str) else group_by
    groupings = {name: tuple(name.split("+")) for name in names}
    tables = analytics.several(
        dict.fromkeys((*GROUPINGS, ("baseline",), ("simulated",), *groupings.values())), where
    )
    figures = tables[()].get((), Figures())
    fixed = _fixed(tables, figures, prices, catalog, label_source)
    best = _best(fixed)
    quality = figures.labels.get(label_source, Labels()).quality
    declared, holdback = against_declared(figures, _declared_baseline(tables)), measured(figures)
    savings = (declared, *_model_savings(fixed, best, quality), *([holdback.saving] if holdback else []))
    return Report(
        population=_population(where, figures),
        first=figures.first,
        last=figures.last,
        simulated=_is_simulated(tables),
        requests=figures.requests,
        answered=figures.answered,
        cost_usd=figures.cost_usd,
        unpriced=figures.unpriced,
        overhead_usd=dict(figures.overhead_usd),
        rejected_usd=figures.rejected_usd,
        metrics=metrics_of(figures, declared, _before(analytics, where, figures)),
        savings=savings,
        fixed=fixed,
        best_fixed=None if best is None else best.model,
        mix=against_mix(fixed, quality),
        holdback=holdback,
        latency_s={f"p{round(100 * q)}": figures.latencies.quantile(q) for q in (0.5, 0.95, 0.99)},
        quality=tuple(quality_of(source, figures) for source in sorted(figures.labels)),
        insights=insights_in(Evidence(tables, prices, catalog, label_source)),
        rows={name: _rows(keys, tables[keys], figures, label_source) for name, keys in groupings.items()},
        notes=(
            *([] if figures.requests else analytics.unmet(where)),
            *_unreadable(analytics),
            *_notes(figures, fixed, best, label_source),
        ),
    )


def _is_simulated(tables: Tables) -> bool | None:
    kinds = [key[0] for key in tables["simulated",]]
    return kinds[0] == "True" if kinds else None


def _declared_baseline(tables: Tables) -> str:
    names = sorted(
        key[0] for key, group in tables["baseline",].items() if key[0] is not None and group.compared.n
    )
    return f"the declared baseline, {', '.join(names)}" if names else "no declared baseline"


def _before(analytics: Analytics, where: Filter, figures: Figures) -> Figures | None:
    """Return the figures of the period of equal length before this one, None when there is none."""
    if where.since is None or figures.first is None or figures.last is None:
        return None
    since = datetime.fromisoformat(str(where.since).replace("Z", "+00:00"))
    until = datetime.fromisoformat(str(where.until or figures.last).replace("Z", "+00:00"))
    # The calendar starts with the year 1: before an early `since` there is less time than the period is long.
    length = min(until - since, since - datetime.min.replace(tzinfo=UTC))
    earlier = analytics.figures(replace(where, since=since - length, until=since))
    return earlier if earlier.requests else None


def _fixed(
    tables: Tables,
    figures: Figures,
    prices: PriceTable | None,
    catalog: Catalog | None,
    label_source: str,
) -> tuple[FixedModel, ...]:
    if prices is None:
        return ()
    # A council's verdict is no model's answer: there is no such model to send every request to.
    models = {
        model
        for kind, _, model in tables["kind", "complexity", "model"]
        if model is not None and kind != COUNCIL
    }
    quality = {
        key[0]: group.labels[label_source].quality
        for key, group in tables["model",].items()
        if key[0] is not None and label_source in group.labels
    }
    return fixed_models(figures, prices, sorted(models), quality, catalog=catalog)


def _best(fixed: Sequence[FixedModel]) -> FixedModel | None:
    known = [f for f in fixed if f.cost_usd is not None and f.quality.n >= LEAST_SAMPLE]
    return max(known, key=lambda f: (f.quality.mean or 0.0, -(f.cost_usd or 0.0)), default=None)


def _model_savings(fixed: Sequence[FixedModel], best: FixedModel | None, routed: Moments) -> list[Saving]:
    """Return the savings against the best fixed model, the cheapest as good as routing, and the costliest."""
    priced = [f for f in fixed if f.cost_usd]
    costliest = max(priced, key=lambda f: f.cost_usd or 0.0, default=None)
    as_good = min(
        (
            f
            for f in priced
            if f.quality.n >= LEAST_SAMPLE and (f.quality.mean or 0.0) >= (routed.mean or 0.0)
        ),
        key=lambda f: f.cost_usd or 0.0,
        default=None,
    )
    savings = []
    for name, model in (
        ("the best fixed model", best),
        ("the cheapest model as good as routing", None if as_good is best else as_good),
        ("the most expensive model", costliest),
    ):
        if model is not None and model.cost_usd:
            note = model.saving.note
            if model.quality.n and routed.n:
                note += (
                    f"; quality {model.quality.mean:.3f} over {model.quality.n} labels, "
                    f"routing's {routed.mean:.3f} over {routed.n}"
                )
            savings.append(replace(model.saving, baseline=f"{name}, {model.model}", note=note))
    return savings


def _rows(names: tuple[str, ...], groups: Groups, total: Figures, label_source: str) -> tuple[Row, ...]:
    """Return the rows of a grouping: in order of time if it starts with one, otherwise by falling cost."""
    if names[0] in ("hour", "day"):
        ordered = sorted(groups.items(), key=lambda item: str(item[0]))
    else:
        ordered = sorted(groups.items(), key=lambda item: (-item[1].cost_usd, str(item[0])))
    return tuple(row_of(key, figures, total, label_source) for key, figures in ordered)


def _population(where: Filter, figures: Figures) -> str:
    conditions = [
        f"{name} {_condition(name, value)}" for name, value in asdict(where).items() if value is not None
    ]
    return f"{figures.requests} requests" + (f" with {', '.join(conditions)}" if conditions else "")


def _condition(name: str, value: str) -> str:
    # A limit with seconds is shown in full, so that no request seems to be on its wrong side.
    whole_minute = name in ("since", "until") and value.endswith(":00.000000Z")
    return moment(value) if whole_minute else value


def _unreadable(analytics: Analytics) -> Iterator[str]:
    bad, foreign = analytics.unreadable()
    if bad:
        yield f"{bad} lines of the log could not be read and are in no figure"
    if foreign:
        yield f"{foreign} events of the other kind, simulated or real, were left out"


def _notes(
    figures: Figures, fixed: Sequence[FixedModel], best: FixedModel | None, label_source: str
) -> Iterator[str]:
    if figures.unpriced:
        yield (
            f"{figures.unpriced} of {figures.requests} requests "
            f"({figures.unpriced / figures.requests:.1%}) have a call of unknown cost: the true totals are "
            "at least those shown"
        )
    if unknown := [model.model for model in fixed if model.saving.baseline_usd is None]:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        yield (
            f"no price is known for {', '.join(unknown[:_NAMED])}{more}: they are in no comparison until a "
            "catalog has a price for them (--models)"
        )
    if fixed and best is None:
        yield (
            f"no best fixed model yet: that needs {LEAST_SAMPLE} labels by {label_source} "
            "for the answers of a model"
        )
    if figures.requests and not figures.held.n:
        yield "nothing is held back, so savings are estimated and not measured: see holdback_share"
