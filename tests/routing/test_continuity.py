import pytest

from smartroute.routing.continuity import UNKNOWN_PROVIDER, OpenConversations

USER = {"role": "user", "content": "What is the weather in Oslo?"}


def calling(identity="call_1", **fields):
    call = {"id": identity, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [call | fields]}


RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
THINKING = {
    "role": "assistant",
    "content": "Hm.",
    "thinking_blocks": [{"type": "thinking", "thinking": "...", "signature": "s"}],
}


def test_a_conversation_without_tool_calls_is_free_to_move():
    talk = [USER, {"role": "assistant", "content": "Rain."}, USER]
    assert OpenConversations().provider_of(talk) is None
    assert OpenConversations().provider_of([USER]) is None


def test_open_tool_calls_stay_with_the_provider_that_issued_them():
    open_conversations = OpenConversations()
    open_conversations.remember(calling()["tool_calls"], "gemini")
    assert open_conversations.provider_of([USER, calling(), RESULT]) == "gemini"


def test_answered_tool_calls_are_closed_once_the_user_speaks_again():
    open_conversations = OpenConversations()
    open_conversations.remember(calling()["tool_calls"], "gemini")
    done = [USER, calling(), RESULT, {"role": "assistant", "content": "Rain."}, USER]
    assert open_conversations.provider_of(done) is None
    assert open_conversations.provider_of([USER, calling(), RESULT, USER]) is None


@pytest.mark.parametrize(
    ("turn", "provider"),
    [
        (calling("toolu_01A"), "anthropic"),
        (calling("call_abc__thought__xyz"), "gemini"),
        (calling(provider_specific_fields={"thought_signature": "s"}), "gemini"),
        (calling("call_abc"), UNKNOWN_PROVIDER),
        (calling(None), UNKNOWN_PROVIDER),
    ],
)
def test_what_cannot_be_remembered_is_read_from_the_turn(turn, provider):
    assert OpenConversations().provider_of([USER, turn, RESULT]) == provider


def test_signed_thinking_ties_the_next_user_turn_too():
    assert OpenConversations().provider_of([USER, THINKING, USER]) == "anthropic"
    content = [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Hm."}]
    assert (
        OpenConversations().provider_of([USER, {"role": "assistant", "content": content}, USER])
        == "anthropic"
    )
    later = [USER, THINKING, USER, {"role": "assistant", "content": "Rain."}, USER]
    assert OpenConversations().provider_of(later) is None


def test_memory_is_bounded_and_forgets_the_oldest():
    open_conversations = OpenConversations(size=2)
    for number in range(3):
        open_conversations.remember([{"id": f"call_{number}"}], "openai")
    assert open_conversations.provider_of([USER, calling("call_0"), RESULT]) == UNKNOWN_PROVIDER
    assert open_conversations.provider_of([USER, calling("call_2"), RESULT]) == "openai"
