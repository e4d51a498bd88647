"""Measure a log in PostgreSQL: events a second into it, catching up with it, and asking it.

    python benchmarks/analytics_sql.py [--url postgresql://user@host/base] [--events 20000] [--rounds 5]

Without a url a server of its own is started on loopback, with fsync on, and removed afterward. The database
at a url must be empty. Writing is measured beside a bare COPY, and a bare executemany, of the same rows in as
large batches into a table with the same columns and indexes, in the same run; all of it is wall time, and
sides alternate. Every batch is one commit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from event_write import KEY, an_outcome
from rounds import interleave, paired

from smartroute.analytics import Analytics, Filter
from smartroute.events.event import Event
from smartroute.events.writing import event_of
from smartroute.sinks import SqlSink, SqlSource
from smartroute.sinks.sql import _row
from smartroute.sinks.sql_schema import COLUMNS

_HOURS = 24 * 30
_AN_HOUR = 400


def events(n: int, first: int = 0) -> list[Event]:
    """Return events one after another, of ten combinations of fields, with ids of their own."""
    base = [event_of(an_outcome(rungs), hash_key=KEY) for rungs in (1, 2)]
    found = []
    for number in range(first, first + n):
        name = uuid.uuid4().hex
        hour = number // _AN_HOUR % _HOURS
        found.append(
            replace(
                base[number % 2],
                id=name,
                outcome_id=name,
                time=f"2026-11-{1 + hour // 24:02d}T{hour % 24:02d}:15:00.000000Z",
                tenant=f"tenant-{number % 5}",
                unit=f"user-{number % 500}",
            )
        )
    return found


def writing(url: str, n: int, rounds: int, batch: int) -> dict[str, list[float]]:
    """Return events a second by side, for each round."""
    import psycopg

    names = ", ".join(COLUMNS)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        with SqlSink(url) as sink:  # it makes the tables
            sink.emit(events(1)[0])
        connection.execute("CREATE TABLE bare (LIKE smartroute_events INCLUDING ALL)")
        connection.commit()

        def rows() -> list[list[Any]]:
            return [[row[name] for name in COLUMNS] for row in map(_row, events(n))]

        def batches(found: Sequence[Any]) -> Iterator[Sequence[Any]]:
            return (found[start : start + batch] for start in range(0, len(found), batch))

        def ours() -> float:
            found = events(n)
            with SqlSink(url, batch=batch, most_pending=n) as sink:
                return _per_second(n, lambda: (_emit_all(sink, found), sink.flush(600.0)))

        def copied() -> float:
            found = rows()

            def work() -> None:
                for some in batches(found):
                    with connection.cursor().copy(f"COPY bare ({names}) FROM STDIN") as incoming:
                        for row in some:
                            incoming.write_row(row)
                    connection.commit()

            return _per_second(n, work)

        def inserted() -> float:
            found = rows()
            sql = f"INSERT INTO bare ({names}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"

            def work() -> None:
                for some in batches(found):
                    connection.cursor().executemany(sql, some)
                    connection.commit()

            return _per_second(n, work)

        return interleave({"SqlSink": ours, "bare COPY": copied, "bare executemany": inserted}, rounds)


def reading(url: str, more: int, times: int) -> dict[str, list[float]]:
    """Return what catching up with as many new events takes, and warm questions, while the log grows.

    Seconds each: a log of one, two, ... times `more` events and what was written before.
    """
    found: dict[str, list[float]] = {
        name: [] for name in ("events", "catching up", "by model", "hourly", "p95")
    }
    source = SqlSource(url)
    analytics = Analytics(source)
    analytics.catch_up()
    for turn in range(times):
        with SqlSink(url, batch=5_000, most_pending=more) as sink:
            _emit_all(sink, events(more, turn * more))
        found["catching up"].append(_seconds(analytics.catch_up))
        found["events"].append(analytics.figures().requests)
        for name, ask in (
            ("by model", lambda: analytics.grouped("model")),
            ("hourly", lambda: analytics.series(48)),
            ("p95", lambda: analytics.figures(Filter(tenant="tenant-1")).latencies.quantile(0.95)),
        ):
            found[name].append(statistics.median(_seconds(ask) for _ in range(9)))
    source.close()
    return found


def _emit_all(sink: SqlSink, found: Sequence[Event]) -> None:
    for event in found:
        sink.emit(event)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _per_second(n: int, work: Callable[[], object]) -> float:
    return n / _seconds(work)


@contextlib.contextmanager
def a_server(url: str | None) -> Iterator[str]:
    """Give the address of a database: the one that was named, or one on a server of our own."""
    if url is not None:
        yield url
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from postgres import Server, binaries

    folder = binaries()
    if folder is None:
        sys.exit("PostgreSQL is not installed; name a database with --url")
    server = Server(folder, fsync=True)
    try:
        yield server.url()
    finally:
        server.remove()


def main() -> None:
    """Print the rates, their ratios, and what reading takes while the log grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    chosen = parser.parse_args()
    with a_server(chosen.url) as url:
        rates = writing(url, chosen.events, chosen.rounds, chosen.batch)
        times = reading(url, chosen.events, chosen.rounds)
    if chosen.json:
        print(json.dumps({"writing": rates, "reading": times}))
        return
    size = len(events(1)[0].to_line())
    print(f"events a second, {chosen.events} of about {size} bytes in batches of {chosen.batch}")
    for name, values in rates.items():
        ratio = "" if name == "SqlSink" else f"   SqlSink / this: {paired(rates['SqlSink'], values)}"
        print(f"  {name:17s} {statistics.median(values):9,.0f}{ratio}")
    print("seconds, while the log grows; questions are medians of nine, warm")
    print("  " + "".join(f"{name:>14s}" for name in times))
    for row in zip(*times.values(), strict=True):
        print("  " + f"{row[0]:14,.0f}" + "".join(f"{value:14.4f}" for value in row[1:]))


if __name__ == "__main__":
    main()
