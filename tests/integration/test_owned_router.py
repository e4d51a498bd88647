"""The router behind the council and the executor: the one given, or one of their own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from smartroute import ConfigError, ModelRouter
from smartroute.integration.owned_router import OwnedRouter
from smartroute.testing import ScriptedProvider


class Closing(ScriptedProvider):
    """A provider that notes how often it was closed."""

    def __init__(self):
        super().__init__(lambda call: "ok")
        self.closed = []

    def close(self):
        self.closed.append("close")

    async def aclose(self):
        self.closed.append("aclose")


def test_an_own_router_is_built_once_at_first_use():
    owned = OwnedRouter(None, {"provider": ScriptedProvider([]), "sink": False, "accept_at": 0.93})
    owned.close()  # nothing is there yet, and nothing is built for it
    with ThreadPoolExecutor(8) as pool:
        routers = {id(router) for router in pool.map(lambda _: owned.router, range(32))}
    assert routers == {id(owned.router)}
    assert owned.router.config.accept_at == 0.93


def test_wrong_settings_raise_at_first_use():
    owned = OwnedRouter(None, {"accept_att": 0.9})
    with pytest.raises(ConfigError, match="accept_at"):
        _ = owned.router


def test_an_own_router_is_closed_and_a_given_one_is_not():
    provider = Closing()
    own = OwnedRouter(None, {"provider": provider, "sink": False})
    assert own.router.run("hi").text == "ok"
    own.close()
    assert provider.closed == ["close"]
    asyncio.run(own.aclose())
    assert provider.closed == ["close", "aclose", "close"]
    given = OwnedRouter(ModelRouter(provider=provider, sink=False), {})
    given.close()
    asyncio.run(given.aclose())
    assert provider.closed == ["close", "aclose", "close"]


def test_a_router_and_settings_exclude_each_other():
    with pytest.raises(ConfigError, match=r"router=\.\.\. or its settings \(accept_at, sink\)"):
        OwnedRouter(ModelRouter(provider=ScriptedProvider([]), sink=False), {"sink": False, "accept_at": 0.5})
