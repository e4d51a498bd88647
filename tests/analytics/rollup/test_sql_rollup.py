"""The rollup of a log in a database answers as the log does, in whatever order transactions end."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import oracle
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_figures import agree, feedback, outcome
from test_file_rollup import FILTERS, an_outcome, check, copies, feedback_on, reader
from tiers import examples

from smartroute.analytics import Analytics, Filter
from smartroute.analytics.rollup import sql_rollup
from smartroute.errors import SinkError
from smartroute.sinks import SqlSink, SqlSource
from smartroute.sinks.sql import _row
from smartroute.sinks.sql_schema import COLUMNS, engine_for


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres").url()
    return f"sqlite:///{tmp_path / 'events.sqlite'}"


@pytest.fixture
def base(postgres):
    """The address of an empty database on PostgreSQL."""
    return postgres.url()


def write(url, *events):
    with SqlSink(url, linger_s=0.0) as sink:
        for event in events:
            sink.emit(event)


def connected(url, **options):
    """A plain connection to PostgreSQL, as another program has it."""
    return psycopg.connect(url.replace("+psycopg", ""), **options)


def insert(connection, *events):
    names, marks = ", ".join(COLUMNS), ", ".join(f"%({name})s" for name in COLUMNS)
    for event in events:
        connection.execute(f"INSERT INTO smartroute_events ({names}) VALUES ({marks})", _row(event))


def execute(url, *statements):
    """Run statements on either database."""
    engine = engine_for(url)
    with contextlib.closing(engine.raw_connection()) as connection:
        for statement in statements:
            connection.cursor().execute(statement)
        connection.commit()
    engine.dispose()


def requests(url, **options):
    source = SqlSource(url)
    try:
        return Analytics(source, **options).figures().requests
    finally:
        source.close()


steps = st.lists(
    st.tuples(st.lists(st.one_of(outcome(), feedback()), max_size=12), st.booleans(), st.integers(0, 9)),
    min_size=1,
    max_size=5,
)


@examples(15, quick=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_rollup_gives_the_figures_of_the_log(url, steps, monkeypatch):
    """In pages of three. Each example first removes what the one before has left."""
    monkeypatch.setattr(sql_rollup, "PAGE_EVENTS", 3)
    if SqlSource(url).schema.version():
        execute(url, "DELETE FROM smartroute_events")
    events = iter(copies([event for written, *_ in steps for event in written]))
    for written, asks, removed in steps:
        write(url, *(event for event, _ in zip(events, written, strict=False)))
        if removed == 0 and SqlSource(url).schema.version():
            execute(url, "DELETE FROM smartroute_events WHERE id < 'o15'")
        if asks:
            check(url, FILTERS[:2])
    if any(written for written, *_ in steps):
        check(url)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.one_of(outcome(), feedback()), min_size=1, max_size=40))
def test_the_rollup_gives_the_figures_of_a_recomputation(url, events):
    if SqlSource(url).schema.version():
        execute(url, "DELETE FROM smartroute_events")
    events = copies(events)
    source = SqlSource(url)
    rolled = Analytics(source)
    for some in (events[: len(events) // 2], events[len(events) // 2 :]):
        write(url, *some)
        rolled.figures()
    lines = [event.to_line() for event in {event.id: event for event in events}.values()]
    agree(rolled.figures(), oracle.outcomes(lines), lines)
    agree(rolled.figures(Filter(tenant="acme")), oracle.outcomes(lines, tenant="acme"), lines)
    source.close()


def test_late_repeated_and_contradictory_feedback_moves_the_labels(url):
    about = f"{7:032x}"
    write(url, feedback_on(1, about, quality=0.2, label="bad"))
    source = SqlSource(url)
    analytics = Analytics(source)
    assert analytics.figures().labels == {}
    write(url, an_outcome(7, confidence=0.93, conversation_id="chat", tenant="acme"))
    assert analytics.figures().labels["user"].quality.total == pytest.approx(0.2)
    later = "2026-11-13T00:00:00.000000Z"
    write(url, feedback_on(2, about, later, quality=1.0, label="good"))
    write(url, feedback_on(3, about, quality=0.4))  # earlier than the last feedback: changes nothing
    labels = analytics.figures(Filter(tenant="acme")).labels["user"]
    assert (labels.quality.n, labels.quality.total) == (1, pytest.approx(1.0))
    assert {label: n for label, n in labels.words.items() if n} == {"good": 1}
    write(url, feedback_on(4, "", later, conversation_id="chat", source="judge", quality=None, label="fine"))
    assert analytics.grouped("hour")["2026-11-10T05",].labels["judge"].words == {"fine": 1}
    source.close()
    check(url)


def test_a_transaction_that_ends_late_is_counted_once_it_has(base):
    """The row that was written first is committed last, when a later one has been counted."""
    write(base, an_outcome(0))
    with connected(base) as first, connected(base) as second:
        insert(first, an_outcome(1))
        insert(second, an_outcome(2))
        second.commit()
        assert check(base).figures().requests == 2
        first.commit()
        [(late, early)] = first.execute(
            "SELECT max(xact::text::bigint) FILTER (WHERE id = %s), max(xact::text::bigint) "
            "FILTER (WHERE id = %s) FROM smartroute_events",
            [f"{1:032x}", f"{2:032x}"],
        ).fetchall()
    assert late < early  # what reads "above the last one" would have lost it
    assert check(base).figures().requests == 3


def test_a_transaction_that_stays_open_holds_nothing_up(base):
    write(base, an_outcome(0))
    with connected(base) as open_:
        insert(open_, an_outcome(1))
        for number in range(2, 6):
            write(base, an_outcome(number))
            assert requests(base) == number
        open_.rollback()
    assert check(base).figures().requests == 5


def test_pages_follow_the_numbers_of_transactions_and_not_their_digits(base, monkeypatch):
    """Transaction 9...9 ends after 10...0 has: both in one pass, in pages of one event."""
    monkeypatch.setattr(sql_rollup, "PAGE_EVENTS", 1)
    write(base, an_outcome(0))
    with connected(base, autocommit=True) as spender, connected(base) as late, connected(base) as early:

        def spend():
            return int(spender.execute("SELECT CAST(pg_current_xact_id() AS text)").fetchone()[0])

        number = spend()
        before = 10 ** len(str(number)) - 2
        while number < before:
            number = spend()
        insert(late, an_outcome(1))
        insert(early, an_outcome(2))
        assert requests(base) == 1
        early.commit()
        late.commit()
    assert check(base).figures().requests == 3


def test_a_transaction_that_ends_between_two_pages_is_read_once(base, monkeypatch):
    """It is left to the next pass, though the pages that follow could see it."""
    monkeypatch.setattr(sql_rollup, "PAGE_EVENTS", 2)
    page, read = sql_rollup._Postgres.page, Counter()

    def watched(self, position):
        rows = page(self, position)
        read.update(event_id for (_, event_id), _ in rows)
        return rows

    monkeypatch.setattr(sql_rollup._Postgres, "page", watched)
    for number in range(3):
        write(base, an_outcome(number))
    with connected(base) as between:
        insert(between, an_outcome(50))
        for number in range(3, 9):
            write(base, an_outcome(number))
        source = SqlSource(base)
        assert Analytics(source).catch_up(lambda done, whole: between.commit())
        assert sum(read.values()) == 9
        assert Analytics(source).figures().requests == 10
        source.close()
    assert set(read.values()) == {1} and len(read) == 10


@pytest.mark.parametrize("seed", range(3))
def test_transactions_that_end_in_any_order_are_counted_once(base, seed, monkeypatch):
    """Six writers insert, commit, undo and use savepoints at random; two readers read in pages of two."""
    monkeypatch.setattr(sql_rollup, "PAGE_EVENTS", 2)
    rng = random.Random(seed)
    write(base, an_outcome(0))
    sources = [SqlSource(base) for _ in range(2)]
    writers = [connected(base) for _ in range(6)]
    seen = Counter()
    for number in range(1, 200):
        writer = rng.choice(writers)
        action = rng.choice(["insert", "insert", "savepoint", "commit", "undo", "ask"])
        seen[action] += 1
        if action == "insert":
            insert(writer, an_outcome(number, tenant=rng.choice(["acme", "bolt"])))
        elif action == "savepoint":
            with writer.transaction(force_rollback=rng.random() < 0.5):
                insert(writer, an_outcome(number))
        elif action == "commit":
            writer.commit()
        elif action == "undo":
            writer.rollback()
        else:
            source = rng.choice(sources)
            rolled, scanned = (Analytics(source, rollup=rollup).grouped("tenant") for rollup in (True, False))
            assert {key: figures.requests for key, figures in rolled.items()} == {
                key: figures.requests for key, figures in scanned.items()
            }
    for writer in writers:
        writer.commit()
        writer.close()
    for source in sources:
        source.close()
    assert min(seen.values()) > 10
    check(base)


def test_a_pass_that_was_cut_off_is_ended_by_another_reader(url, monkeypatch):
    """The first reader dies in the middle of its pass; more is written before the second one comes."""
    monkeypatch.setattr(sql_rollup, "PAGE_EVENTS", 4)
    write(url, *(an_outcome(number) for number in range(10)))
    source = SqlSource(url)

    def cut(done, whole):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Analytics(source).catch_up(cut)
    source.close()
    write(url, *(an_outcome(number) for number in range(10, 23)))
    assert requests(url) == 23
    check(url)


def test_a_query_reads_only_what_is_new(url, monkeypatch):
    write(url, *(an_outcome(number) for number in range(50)))
    requests(url)
    read = []
    for reading in (sql_rollup._Postgres, sql_rollup._Sqlite):

        def watched(self, position, page=reading.page):
            read.append(rows := page(self, position))
            return rows

        monkeypatch.setattr(reading, "page", watched)
    assert requests(url) == 50
    assert read == []
    write(url, an_outcome(51), an_outcome(52))
    assert requests(url) == 52
    assert [len(rows) for rows in read] == [2]


@pytest.mark.parametrize("analyzed", [False, True])
def test_the_server_looks_only_at_what_is_new(base, analyzed, monkeypatch):
    """By its own account of how it reads, whether it has gathered statistics or not."""
    write(base, *(an_outcome(number) for number in range(12_000)))
    if analyzed:
        execute(base, "ANALYZE")
    requests(base)
    write(base, an_outcome(12_000), an_outcome(12_001))
    plans = []

    def explained(connection, sql, values=(), run=sql_rollup._rows):
        if "ORDER BY" in sql:
            plans.append("\n".join(row[0] for row in run(connection, f"EXPLAIN ANALYZE {sql}", values)))
        return run(connection, sql, values)

    monkeypatch.setattr(sql_rollup, "_rows", explained)
    assert requests(base) == 12_002
    assert requests(base) == 12_002
    assert len(plans) == 3  # is there anything new, the page, and once more
    for plan in plans:
        assert "smartroute_events_by_xact" in plan and "Seq Scan" not in plan, plan
        looked_at = re.findall(r"Index Scan .*\(actual .* rows=(\d+) ", plan)
        passed_over = re.findall(r"Rows Removed by Filter: (\d+)", plan)
        assert sum(map(int, looked_at + passed_over)) <= 2, plan


@pytest.mark.slow
def test_readers_that_race_writers_and_one_another_count_every_event_once(url):
    n = 1500
    write(url, an_outcome(0))
    readers = [reader(url, n) for _ in range(4)]
    for process in readers:
        assert process.stdout.readline() == "up\n"
    sinks = [SqlSink(url, linger_s=0.0, batch=40) for _ in range(3)]
    for number in range(1, n):
        sinks[number % 3].emit(an_outcome(number, f"2026-11-10T{number % 24:02d}:00:00.000000Z"))
        if number % 10 == 0:
            sinks[0].emit(feedback_on(number, f"{number:032x}", quality=0.25))
        if number % 100 == 0:
            time.sleep(0.05)
    for sink in sinks:
        sink.close()
    for process in readers:
        seen = [int(line) for line in process.communicate(timeout=120)[0].split()]
        assert process.returncode == 0
        assert seen == sorted(seen) and seen[-1] == n
    figures = check(url, FILTERS[:2]).figures()
    assert figures.requests == n
    assert figures.cost_usd == pytest.approx(0.5 * n)
    assert figures.labels["user"].quality.total == pytest.approx(0.25 * (n // 10 - 1 + (n % 10 > 0)))


@pytest.mark.slow
def test_readers_that_are_killed_leave_every_event_counted_once(url):
    rng = random.Random(6)
    n = 0
    for _ in range(5):
        write(
            url, *(an_outcome(m, unit=f"u{m % 7}") for m in range(n, n + 1500)), feedback_on(n, f"{n:032x}")
        )
        n += 1500
        process = reader(url, -1)
        assert process.stdout.readline() == "up\n"
        time.sleep(rng.uniform(0.0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    figures = check(url, FILTERS[:2]).figures()
    assert (figures.requests, figures.labels["user"].quality.n) == (n, 5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_readers_of_a_server_that_is_restarted_count_every_event_once(postgres, mode):
    """A reader may fail because the log cannot be read; the figures it gets only grow."""
    base = postgres.url()
    write(base, an_outcome(0))
    stopping = threading.Event()
    emitted = [0]
    answers, problems = [], Counter()

    def emit():
        with SqlSink(base, linger_s=0.01, batch=30) as sink:
            while not stopping.is_set():
                emitted[0] += 1
                sink.emit(an_outcome(emitted[0]))
                time.sleep(0.001)
            sink.flush(60.0)

    def ask():
        source = SqlSource(base)
        while not stopping.is_set():
            try:
                answers.append(Analytics(source).figures().requests)
            except SinkError:
                problems["SinkError"] += 1
                time.sleep(0.02)
            except Exception as error:  # noqa: BLE001  whatever it is, the test tells
                problems[repr(error)] += 1
        source.close()

    threads = [threading.Thread(target=work) for work in (emit, ask)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.4)
        postgres.stop(mode)
        time.sleep(0.2)
        postgres.start()
    time.sleep(0.4)
    stopping.set()
    for thread in threads:
        thread.join()
    assert set(problems) <= {"SinkError"}
    assert answers == sorted(answers) and answers
    assert check(base, FILTERS[:2]).figures().requests == emitted[0] + 1


def test_no_reader_is_answered_from_a_rollup_that_is_being_rebuilt(url, monkeypatch):
    monkeypatch.setattr(sql_rollup, "PAGE_EVENTS", 50)
    write(url, *(an_outcome(number) for number in range(300)))
    requests(url)
    stopping = threading.Event()
    problems = []

    def rebuild():
        source = SqlSource(url)
        while not stopping.is_set():
            if not Analytics(source).catch_up(rebuild=True):
                problems.append("no rollup")
        source.close()

    thread = threading.Thread(target=rebuild)
    thread.start()
    try:
        assert {requests(url) for _ in range(10)} == {300}
    finally:
        stopping.set()
        thread.join()
    assert problems == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM smartroute_events WHERE time < '2026-11-11'",
        "DELETE FROM smartroute_events",
        "UPDATE smartroute_events SET line = replace(line, '\"mini\"', '\"maxi\"') WHERE model = 'mini'",
    ],
    ids=["DELETE of some", "DELETE of all", "UPDATE"],
)
def test_what_is_removed_or_changed_counts_as_it_is(url, statement):
    later = "2026-11-12T05:00:00.000000Z"
    write(url, an_outcome(1, unit="ann"), an_outcome(2), an_outcome(3, later), an_outcome(4, later))
    assert check(url).figures().requests == 4
    execute(url, statement)
    check(url)
    write(url, an_outcome(5), an_outcome(1))
    check(url)


def test_a_table_that_was_truncated_counts_no_more(base):
    write(base, an_outcome(1), an_outcome(2))
    assert check(base).figures().requests == 2
    execute(base, "TRUNCATE smartroute_events")
    write(base, an_outcome(3))
    assert check(base).figures().requests == 1


def test_a_removal_that_removes_nothing_costs_nothing(url, monkeypatch):
    write(url, an_outcome(1))
    assert requests(url) == 1
    execute(url, "DELETE FROM smartroute_events WHERE time < '2000'")
    monkeypatch.setattr(sql_rollup.Tables, "clear", lambda self: pytest.fail("it was rebuilt"))
    assert requests(url) == 1


def test_a_removal_by_a_role_that_may_do_nothing_else_is_noticed_too(base):
    write(base, an_outcome(1), an_outcome(2))
    assert requests(base) == 2
    execute(
        base,
        "CREATE ROLE janitor LOGIN",
        "GRANT SELECT, DELETE ON smartroute_events TO janitor",
    )
    try:
        execute(base.replace("tester@", "janitor@"), f"DELETE FROM smartroute_events WHERE id = '{1:032x}'")
        assert check(base).figures().requests == 1
    finally:
        execute(base, "DROP OWNED BY janitor", "DROP ROLE janitor")


def test_rows_that_are_not_events_or_of_the_other_traffic_are_left_out_and_counted(url):
    write(url, an_outcome(1), an_outcome(2))
    execute(
        url,
        "INSERT INTO smartroute_events (id, outcome_id, type, time, simulated, line) "
        "VALUES ('x', 'x', 'outcome', '2026', false, '{torn')",
        "INSERT INTO smartroute_events (id, outcome_id, type, time, simulated, line) "
        "SELECT 'y', 'y', type, time, true, replace(replace(line, 'false', 'true'), "
        f"'{2:032x}', 'y') FROM smartroute_events WHERE id = '{2:032x}'",
    )
    assert check(url).unreadable() == (1, 1)


def test_a_database_restored_from_a_server_with_higher_transaction_numbers_is_read_again(postgres):
    """Its rows say that transactions wrote them which this server has still before it."""
    base, restored = postgres.url(), postgres.url()
    write(base, an_outcome(1))
    assert requests(base) == 1
    with connected(base) as connection:
        insert(connection, an_outcome(2))
        connection.execute("UPDATE smartroute_events SET xact = '900000000000'")
    dump = postgres.run("pg_dump", base)
    postgres.run("psql", restored, "-v", "ON_ERROR_STOP=1", stdin=dump)
    assert check(restored).figures().requests == 2
    write(restored, an_outcome(3))
    assert check(restored).figures().requests == 3


def test_a_role_that_may_only_read_costs_time_and_one_warning(base, caplog):
    write(base, an_outcome(1), an_outcome(2))
    execute(
        base,
        "CREATE ROLE guest LOGIN",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO guest",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest",
    )
    source = SqlSource(base.replace("tester@", "guest@"))
    try:
        analytics = Analytics(source)
        assert not analytics.catch_up()
        assert [analytics.figures().requests for _ in range(3)] == [2, 2, 2]
        assert sum("no rollup can be kept" in record.message for record in caplog.records) == 1
        # Once another role has brought it up to date, reading it takes no right to write.
        assert requests(base) == 2
        assert analytics.catch_up()
        assert analytics.figures().requests == 2
    finally:
        source.close()
        execute(base, "DROP OWNED BY guest", "DROP ROLE guest")


def test_a_file_that_may_only_be_read_costs_time_and_one_warning(tmp_path, caplog):
    file = tmp_path / "events.sqlite"
    write(f"sqlite:///{file}", an_outcome(1), an_outcome(2))
    source = SqlSource(f"sqlite:///file:{file}?mode=ro&uri=true")
    analytics = Analytics(source)
    assert [analytics.figures().requests for _ in range(3)] == [2, 2, 2]
    assert sum("no rollup can be kept" in record.message for record in caplog.records) == 1
    source.close()


def test_the_rollup_is_rebuilt_on_request_and_reports_its_progress(url, monkeypatch):
    monkeypatch.setattr(sql_rollup, "PAGE_EVENTS", 10)
    write(url, *(an_outcome(number) for number in range(35)))
    assert check(url).figures().requests == 35
    execute(url, f"UPDATE rollup{sql_rollup.VERSION}_cells SET requests = requests + 1")
    assert requests(url) == 36  # nothing new: the stored sums are used
    steps = []
    source = SqlSource(url)
    assert Analytics(source).catch_up(lambda done, whole: steps.append((done, whole)), rebuild=True)
    source.close()
    assert steps == [(10, 35), (20, 35), (30, 35), (35, 35)]
    assert check(url).figures().requests == 35


def test_names_that_the_server_cannot_hold_break_no_figure(base):
    write(base, an_outcome(1, model="m\0", tenant="\0", unit="u\0", conversation_id="c\0"))
    source = SqlSource(base)
    assert Analytics(source).catch_up()
    assert Analytics(source).several([("model", "tenant")]).popitem()[1].keys() == {("m\ufffd", "\ufffd")}
    source.close()


def test_a_database_that_is_away_or_newer_says_so_with_and_without_a_rollup(tmp_path):
    url = f"sqlite:///{tmp_path / 'events.sqlite'}"
    write(url, an_outcome(1))
    execute(url, "INSERT INTO smartroute_migrations (version, applied_at) VALUES (99, 'later')")
    for rollup in (True, False):
        with pytest.raises(SinkError, match="version 99 and this smartroute knows version"):
            requests(url, rollup=rollup)
        with pytest.raises(SinkError, match="cannot be read"):
            requests("postgresql://stranger@127.0.0.1:9/nothing", rollup=rollup)


def test_a_log_that_has_no_tables_yet_has_no_rollup(tmp_path):
    source = SqlSource(f"sqlite:///{tmp_path / 'events.sqlite'}")
    assert not Analytics(source).catch_up()
    assert Analytics(source).figures().requests == 0
    source.close()


def test_the_tables_can_be_read_with_any_tool(base):
    write(base, *(an_outcome(n, tenant="acme", unit="ann", latency_s=2.0) for n in range(4)))
    requests(base)
    with connected(base) as connection:
        row = connection.execute(
            f"SELECT bucket, kind, tenant, requests, cost_usd FROM rollup{sql_rollup.VERSION}_cells c "
            f"JOIN rollup{sql_rollup.VERSION}_keys k ON k.id = c.key WHERE grain = 13"
        ).fetchall()
    assert row == [("2026-11-10T05", "score", "acme", 4, 2.0)]


def test_reading_a_log_needs_no_server_in_the_process(tmp_path):
    """The rollup of files loads neither SQLAlchemy nor psycopg."""
    program = (
        "import sys; from smartroute.analytics import Analytics; from smartroute.sinks import JsonlSource; "
        f"Analytics(JsonlSource({str(tmp_path)!r})).figures(); "
        "sys.exit(bool({'sqlalchemy', 'psycopg'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
