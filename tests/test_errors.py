import copy
import pickle

import pytest

from smartroute import AllModelsFailedError, BudgetExceededError, ModelRouter
from smartroute.errors import RateLimitError, RefusedError
from smartroute.testing import ScriptedProvider


def test_errors_survive_pickling_with_their_attributes():
    limited = pickle.loads(pickle.dumps(RateLimitError("429", model="m", retry_after_s=7, status=429)))
    assert (str(limited), limited.model, limited.retry_after_s, limited.status) == ("429", "m", 7, 429)
    broke = copy.copy(BudgetExceededError("over", spent_usd=1.0, limit_usd=2.0))
    assert (broke.spent_usd, broke.limit_usd, broke.attempts) == (1.0, 2.0, ())


def test_an_error_without_an_answer_holds_its_outcome_and_still_pickles():
    router = ModelRouter(provider=ScriptedProvider(lambda call: RefusedError("no")), sink=False)
    with pytest.raises(AllModelsFailedError) as caught:
        router.run("hi")
    copied = pickle.loads(pickle.dumps(caught.value))
    assert copied.outcome.error is copied
    assert copied.outcome.attempts == copied.attempts == caught.value.attempts
    assert copied.outcome.complexity == "simple"
