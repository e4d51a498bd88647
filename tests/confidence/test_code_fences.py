"""One reader of code fences, for answers, self-reports and councils."""

import json
import time

import pytest

from smartroute.confidence import bare_json
from smartroute.confidence.code_fences import only_fenced, unfenced

CONTENT = '{"score": 80}'


@pytest.mark.parametrize(
    "fenced",
    [
        "```json\n{}\n```",
        "```JSON\n{}\n```",
        "```javascript\n{}\n```",
        "```json5\n{}\n```",
        "```c++\n{}\n```",
        "``` json \n{}\n```",
        '```json title="scores.json"\n{}\n```',
        "```json {{1,3}}\n{}\n```",
        "```js [scores.js]\n{}\n```",
        "```{{.json}}\n{}\n```",
        "```\n{}\n```",
        "```\r\n{}\r\n```",
        "```{}```",
        "```json {}```",
        "```JSON{}\n```",
        "```json {}\n```",
        "~~~\n{}\n~~~",
        "~~~json\n{}\n~~~",
        "````json\n{}\n````",
        "```json\n{}",
        "```json\n{}\n",
        "~~~json\n{}",
    ],
)
def test_the_content_of_a_fence_that_is_all_of_the_text_is_read(fenced):
    assert json.loads(unfenced(fenced.format(CONTENT).strip())) == {"score": 80}


@pytest.mark.parametrize(
    "text",
    [
        CONTENT,
        "",
        "`code`",
        "Look: ```json\n{}\n```",
        "```json\n{}\n```\nThat is all.",
        "a ~~~ b",
    ],
)
def test_what_is_not_one_fence_stays_as_it_is(text):
    assert unfenced(text) == text


@pytest.mark.parametrize(
    ("fenced", "content"),
    [
        ("```buy now\n{}```", "buy now\n{}"),  # words, and no language
        ("```score: 85\n```", "score: 85"),
        ("```\n```", ""),
        ("``````", ""),
        ('```json {\n"a": 1}\n```', '{\n"a": 1}'),
        ('````\n```\n"x"\n```\n````', '```\n"x"\n```'),
    ],
)
def test_a_first_line_that_is_no_language_belongs_to_the_content(fenced, content):
    assert unfenced(fenced) == content


@pytest.mark.parametrize(
    "text",
    [
        "Here are the scores:\n```json\n{}\n```\nTell me if you need more.",
        "Here:\n\n  ~~~JSON\n{}\n  ~~~",
        "```json\n{}\n```\nThat is all.",
        "Sure.\n```json\n{}",
    ],
)
def test_the_one_fence_in_other_text_is_found(text):
    assert only_fenced(text.replace("{}", CONTENT)) == CONTENT


@pytest.mark.parametrize("text", [CONTENT, "", "no fence", "```\n1\n```\nor\n```\n2\n```", "say ```1```"])
def test_without_a_fence_or_with_several_there_is_no_one_fence(text):
    assert only_fenced(text) is None


@pytest.mark.parametrize("fence", ["```JSON\n{}\n```", "~~~json\n{}\n~~~", "```json\n{}"])
def test_a_reply_in_any_fence_is_json_where_json_was_asked_for(fence):
    fenced = fence.format(CONTENT)
    assert bare_json(fenced, {"type": "json_object"}) == CONTENT
    assert bare_json(fenced, {"type": "text"}) == fenced


@pytest.mark.parametrize(
    "hostile",
    [
        "`" * 200_000,
        "~" * 199_999 + "x",
        "```\n" * 50_000 + "x",
        "```" + " " * 200_000 + "=",
        "\n```a" * 40_000,
    ],
    ids=range(5),
)
@pytest.mark.parametrize("read", [unfenced, only_fenced])
def test_hostile_text_takes_linear_time(read, hostile):
    """The square of 200,000 would be minutes; a second leaves room for a busy machine."""
    start = time.perf_counter()
    read(hostile)
    assert time.perf_counter() - start < 1.0
