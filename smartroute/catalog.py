"""The models: tier, price, context, abilities, refused parameters, and the key that each needs."""

from __future__ import annotations

import difflib
import functools
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from smartroute.errors import ConfigError, UnknownModelError, shown
from smartroute.number_checks import checked_whole
from smartroute.parameters import BEHIND_THE_LEDGER
from smartroute.pricing import LongContext, Price, PriceTable, canonical_name
from smartroute.records import Tier

ABILITIES = frozenset(
    {
        "tools",
        "images",
        "audio",
        "video",
        "files",
        "json_schema",
        "logprobs",
        "effort",
        "audio_output",
        "image_output",
    }
)
"""What a model can take or return beyond text. A request that needs one rules out models without it."""

_KEY_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY"),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    # Local servers ask for no key; cloud accounts are found by the cloud's own library.
    **dict.fromkeys(("ollama", "ollama_chat", "hosted_vllm", "vllm", "lm_studio", "llamafile"), ()),
    **dict.fromkeys(("bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai"), ()),
}

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_DATA = "data/catalog.json"


def provider_name(text: str) -> str:
    """Return the word for a provider that the catalog uses: litellm's prefix, so Google is "gemini"."""
    name = text.strip().lower()
    return "gemini" if name == "google" else name


@dataclass(frozen=True, slots=True, init=False)
class ModelCard:
    """One model that may be called.

    `name` is what people write; `target` is litellm's id, `provider/model`, taken from the name or
    the provider when left out. With an `api_base` the card is for a server of its own: unless
    named otherwise its provider is the target's prefix with the host, such as
    "openai@localhost:8000", so that an allow-list never confuses the two; it needs no
    key unless `api_key_env` names a variable.

    `price` None is unknown. `context_tokens` and `max_output_tokens` None rule nothing out. No
    ability is assumed: list what the model can do. `refuses` are request parameters that it does not
    accept, `efforts` the values of `reasoning_effort` that it does. `default` False keeps it off the
    ladders that are built by default; it can still be named. `options` go to the provider with
    every call; api_base and api_key_env are put among them.

    Raises ConfigError naming the field, the value and the cure.
    """

    name: str
    provider: str
    tier: Tier
    target: str
    price: Price | None
    context_tokens: int | None
    max_output_tokens: int | None
    abilities: frozenset[str]
    refuses: frozenset[str]
    efforts: tuple[str, ...]
    api_base: str | None = field(repr=False)
    api_key_env: str | None
    options: Mapping[str, Any] = field(hash=False, repr=False)
    retired_on: date | None
    default: bool
    source: str
    as_of: str
    note: str

    def __init__(
        self,
        name: str,
        target: str | None = None,
        *,
        provider: str | None = None,
        tier: Tier | str = Tier.STANDARD,
        price: Price | None = None,
        context_tokens: int | None = None,
        max_output_tokens: int | None = None,
        abilities: Iterable[str] = (),
        refuses: Iterable[str] = (),
        efforts: Iterable[str] = (),
        api_base: str | None = None,
        api_key_env: str | None = None,
        options: Mapping[str, Any] | None = None,
        retired_on: date | str | None = None,
        default: bool = True,
        source: str = "",
        as_of: date | str = "",
        note: str = "",
    ) -> None:
        name = _text("name", name)
        connection = _connection(options, api_base, api_key_env)
        target = _target(name, target, provider)
        efforts = _names("efforts", efforts)
        if price is not None and not isinstance(price, Price):
            raise ConfigError(
                f"price must be a Price(input, output) in USD per million tokens, or None, got {shown(price)}"
            )
        if not isinstance(default, bool):
            raise ConfigError(f"default must be true or false, got {shown(default)}")
        values: dict[str, Any] = {
            "name": name,
            "provider": _provider(target, provider, connection.get("api_base")),
            "tier": _tier(tier),
            "target": target,
            "price": price,
            "context_tokens": _count("context_tokens", context_tokens),
            "max_output_tokens": _count("max_output_tokens", max_output_tokens),
            "abilities": _abilities(abilities, efforts),
            "refuses": frozenset(_names("refuses", refuses)),
            "efforts": efforts,
            "api_base": connection.get("api_base"),
            "api_key_env": connection.get("api_key_env"),
            "options": connection,
            "retired_on": None if retired_on is None else _date("retired_on", retired_on),
            "default": default,
            "source": _text("source", source, empty=True),
            "as_of": _date("as_of", as_of).isoformat() if as_of else "",
            "note": _text("note", note, empty=True),
        }
        for slot, value in values.items():
            object.__setattr__(self, slot, value)

    @property
    def key_variables(self) -> tuple[str, ...]:
        """Return the environment variables of which any one holds the key; empty when none is needed."""
        if self.api_key_env is not None:
            return (self.api_key_env,)
        if self.api_base is not None:
            return ()
        prefix = self.target.partition("/")[0]
        known = _KEY_VARIABLES.get(prefix)
        return (f"{prefix.upper().replace('-', '_')}_API_KEY",) if known is None else known

    def retired(self, as_of: date | str) -> bool:
        """Return whether the provider has withdrawn the model on or before a date."""
        return self.retired_on is not None and self.retired_on <= _date("as_of", as_of)


def _text(name: str, value: object, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (empty or value.strip()):
        raise ConfigError(f"{name} must be {'text' if empty else 'a name, not empty'}, got {shown(value)}")
    return value if empty else value.strip()


def _target(name: str, target: str | None, provider: str | None) -> str:
    if target is None and provider is not None and "/" not in name and "@" not in provider:
        target = f"{provider_name(provider)}/{name}"
    wanted = name if target is None else _text("target", target)
    prefix, _, model = wanted.partition("/")
    if not prefix or not model:
        raise ConfigError(
            f"model {name!r} needs a target in litellm's form provider/model, such as "
            f'"openai/{name}" or "ollama/{name}", got {shown(target)}'
        )
    return f"{provider_name(prefix)}/{model}"


def _provider(target: str, provider: str | None, api_base: str | None) -> str:
    prefix = target.partition("/")[0]
    given = None if provider is None else provider_name(_text("provider", provider))
    if api_base is None:
        return prefix if given is None else given
    try:
        host = urlsplit(api_base)
        address = host.netloc.rpartition("@")[2].lower()
    except (ValueError, TypeError, AttributeError):
        host, address = None, ""
    if host is None or host.scheme not in ("http", "https") or not address:
        raise ConfigError(f'api_base must be a URL such as "http://localhost:8000/v1", got {shown(api_base)}')
    # The prefix alone would pass for the real provider; prefix@host is derived, and follows the host.
    if given is None or given.partition("@")[0] == prefix:
        return f"{prefix}@{address}"
    return given


def _tier(tier: object) -> Tier:
    try:
        return Tier(str(tier).strip().lower())
    except ValueError:
        raise ConfigError(f"tier must be one of {', '.join(Tier)}, got {shown(tier)}") from None


def _count(name: str, value: object) -> int | None:
    return None if value is None else checked_whole(value, name, least=1)


def _names(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f'{name} must be a list of names, such as ["tools"], got {shown(value)}')
    names = tuple(value)
    for item in names:
        _text(f"each of {name}", item)
    return names


def _abilities(value: object, efforts: tuple[str, ...]) -> frozenset[str]:
    abilities = frozenset(_names("abilities", value)) | ({"effort"} if efforts else set())
    for ability in sorted(abilities - ABILITIES):
        raise ConfigError(f"there is no ability {ability!r}; {_suggest(ability, sorted(ABILITIES))}")
    if "effort" in abilities and not efforts:
        raise ConfigError(
            'a model with the ability "effort" needs efforts: the values of reasoning_effort that it takes, '
            'such as ["low", "medium", "high"]'
        )
    return abilities


def _variable(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        # The value is not shown: it may be a key.
        raise ConfigError(
            "api_key_env must be the name of an environment variable that holds the key, such as "
            "MY_SERVER_API_KEY (capitals, digits and underscores), not the key itself"
        )
    return value


def _connection(options: object, api_base: str | None, api_key_env: str | None) -> dict[str, Any]:
    """Return the checked options, with the server's address and the key's variable among them."""
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"options must be a table of connection settings, got {type(options).__name__}")
    connection: dict[str, Any] = dict(options or {})
    if "api_key" in connection:
        raise ConfigError(
            "options must not hold api_key: put the key into an environment variable, "
            "and the variable's name into api_key_env"
        )
    for name in connection.keys() & _NO_OPTIONS.keys():
        raise ConfigError(f"options must not hold {name}: {_NO_OPTIONS[name]}")
    if api_base is not None:
        connection["api_base"] = api_base
    variable = _variable(connection.get("api_key_env") if api_key_env is None else api_key_env)
    if variable is not None:
        connection["api_key_env"] = variable
    return connection


_NO_OPTIONS = {
    **BEHIND_THE_LEDGER,
    "model": "the card's target names the model",
    "messages": "they are the task's",
    "stream": "whole answers are returned at once",
}


def _date(name: str, value: object) -> date:
    if isinstance(value, date):
        return value.date() if isinstance(value, datetime) else value
    try:
        return date.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ConfigError(f"{name} must be a date such as 2026-11-23, got {shown(value)}") from None


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


class Catalog:
    """The models to choose from, in a fixed order, and the date at which retirement is judged.

    Immutable: `with_cards` and `refreshed` return new ones.
    """

    __slots__ = ("_aliases", "_as_of", "_cards")

    def __init__(self, cards: Iterable[ModelCard], as_of: date | str) -> None:
        self._cards: dict[str, ModelCard] = {}
        for card in _listed(cards):
            if not isinstance(card, ModelCard):
                raise ConfigError(f"a catalog is made of ModelCards, got {type(card).__name__}")
            if card.name in self._cards:
                raise ConfigError(f"two models are named {card.name!r}; rename one")
            self._cards[card.name] = card
        self._as_of = _date("as_of", as_of)
        self._aliases = _aliases(self._cards)

    @classmethod
    @functools.cache
    def default(cls) -> Catalog:
        """Return the catalog that ships with smartroute."""
        text = pkgutil.get_data("smartroute", _DATA)
        if text is None:
            raise ConfigError(f"the catalog file {_DATA} is missing; reinstall smartroute")
        return _read(json.loads(text), "the catalog that ships with smartroute")

    @classmethod
    def of(cls, cards: Iterable[ModelCard], *, as_of: date | str | None = None) -> Catalog:
        """Return a catalog of these cards alone.

        `as_of` is by default the latest date among the cards, else that of the default catalog.
        """
        listed = _listed(cards)
        if as_of is None:
            as_of = max((card.as_of for card in listed if isinstance(card, ModelCard)), default="")
        return cls(listed, as_of or cls.default().as_of)

    @classmethod
    def from_file(cls, path: str | Path) -> Catalog:
        """Return the catalog in a TOML or JSON file: a list `models` of cards, and `as_of` if wanted.

        A row has the fields of ModelCard, its price those of Price. A row with `like` starts from
        the default catalog's card of that name, whose price it keeps unless it has an api_base.
        Raises ConfigError naming the file, the row, the field, the value and the cure.
        """
        if not isinstance(path, str | Path):
            raise ConfigError(f"the catalog file must be a path, got {shown(path)}")
        file = Path(path)
        return _read(_parse(file), str(file))

    @property
    def as_of(self) -> date:
        """Return the date at which retirement is judged."""
        return self._as_of

    def with_cards(self, *cards: ModelCard) -> Catalog:
        """Return a catalog with these cards added. One replaces a card of the same name, at its position."""
        own = Catalog(cards, self.as_of)
        return Catalog({**self._cards, **own._cards}.values(), self.as_of)

    def with_file(self, path: str | Path) -> Catalog:
        """Return a catalog with the cards of a file added, as of the later of both dates.

        Raises ConfigError as `from_file` does.
        """
        own = Catalog.from_file(path)
        return Catalog(self.with_cards(*own), max(self.as_of, own.as_of))

    def refreshed(self) -> Catalog:
        """Return a catalog whose prices are those of the installed litellm's map, where it has them.

        A refreshed price says so in its source. Cards with an api_base, and those the map does not
        have, keep theirs.
        """
        return Catalog(map(_refresh, self), self.as_of)

    def prices(self, *, fill_gaps: bool = True) -> PriceTable:
        """Return the prices of the cards. Cards without one are looked up in litellm's map by target.

        A card with an api_base and no price stays unpriced: the map has no prices of that server.
        """
        rows = {card.name: card.price for card in self if card.price is not None}
        targets = {
            card.name: None if card.api_base is not None else card.target
            for card in self
            if card.price is None
        }
        named = {canonical_name(name) for name in self._cards}
        for card in self:
            if card.price is not None and card.api_base is None and canonical_name(card.target) not in named:
                rows.setdefault(card.target, card.price)
        return PriceTable(rows, fill_gaps=fill_gaps, targets=targets)

    def card(self, name: str) -> ModelCard:
        """Return the card of a model, by its name, its target, or its target without the provider.

        Raises UnknownModelError with the closest names.
        """
        if not isinstance(name, str):
            raise UnknownModelError(f"a model is named by text, got {shown(name)}")
        card = self._cards.get(name)
        if card is None:
            alias = self._aliases.get(name) or self._aliases.get(name.replace("google/", "gemini/", 1))
            if alias is None:
                raise UnknownModelError(self._unknown(name))
            card = self._cards[alias]
        return card

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, [*self._cards, *self._aliases], n=3, cutoff=0.6)
        best = list(dict.fromkeys(self._aliases.get(match, match) for match in close))
        known = (
            f"did you mean {' or '.join(best)}?" if best else f"it has {', '.join(self._cards) or 'none'}."
        )
        return (
            f"the catalog has no model {name!r}; {known} To use another model, add a card: "
            'catalog.with_cards(ModelCard("my-model", "provider/model"))'
        )

    def __iter__(self) -> Iterator[ModelCard]:
        """Iterate over the cards, in order."""
        return iter(self._cards.values())

    def __len__(self) -> int:
        """Return the number of models."""
        return len(self._cards)

    def __contains__(self, name: object) -> bool:
        """Return whether `card` would find a model by this name."""
        return name in self._cards or name in self._aliases

    def __repr__(self) -> str:
        return f"Catalog({len(self)} models, as of {self.as_of})"


def _listed(cards: object) -> tuple[Any, ...]:
    if not isinstance(cards, Iterable):
        raise ConfigError(f"a catalog is made of a list of ModelCards, got {shown(cards)}")
    return tuple(cards)


def _aliases(cards: Mapping[str, ModelCard]) -> dict[str, str]:
    """Return the card that each other name means; a card on a server of its own yields to the others."""
    names: dict[str, str] = {}
    for card in sorted(cards.values(), key=lambda card: card.api_base is not None):
        for alias in (card.target, card.target.partition("/")[2]):
            if alias not in cards:
                names.setdefault(alias, card.name)
    return names


def _refresh(card: ModelCard) -> ModelCard:
    from smartroute.pricing.litellm_map import installed_price

    price = None if card.api_base is not None else installed_price(card.target, "refreshed")
    return card if price is None else replace(card, price=price)


def _parse(file: Path) -> object:
    import tomllib

    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the catalog file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text") from None
    kind = file.suffix.lower()
    try:
        if kind == ".json":
            return json.loads(text)
        if kind == ".toml":
            return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{file} is not valid {kind[1:].upper()}: {error}") from None
    raise ConfigError(f"{file} must end in .toml or .json, got {kind or 'no ending'!r}")


_FILE_KEYS = ("as_of", "models")
_CARD_KEYS = tuple(slot.name for slot in fields(ModelCard))
_PRICE_KEYS = tuple(slot.name for slot in fields(Price))
_LONG_KEYS = tuple(slot.name for slot in fields(LongContext))


def _read(document: object, where: str) -> Catalog:
    table = _table(document, where, _FILE_KEYS)
    rows = table.get("models")
    if not isinstance(rows, list):
        raise ConfigError(
            f'{where} must have a list of models ([[models]] in TOML, "models": [...] in JSON), '
            f"got {type(rows).__name__ if rows is not None else 'none'}"
        )
    cards = [_card(row, f"{where}: model {number}") for number, row in enumerate(rows, start=1)]
    try:
        as_of = table.get("as_of")
        return Catalog.of(cards, as_of=None if as_of is None else _date("as_of", as_of))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _card(row: object, where: str) -> ModelCard:
    if isinstance(row, Mapping) and isinstance(row.get("name"), str):
        where += f" ({row['name']})"
    settings = dict(_table(row, where, (*_CARD_KEYS, "like")))
    if "name" not in settings:
        raise ConfigError(f'{where}: name is missing; a model needs one, such as name = "my-model"')
    like = settings.pop("like", None)
    try:
        if settings.get("price") is not None:
            settings["price"] = _price(settings["price"], where, settings)
        if like is None:
            return ModelCard(**settings)
        base = Catalog.default().card(_text("like", like))
        if "api_base" in settings:
            settings.setdefault("price", None)
        if "target" in settings:
            settings.setdefault("provider", None)
        return replace(base, **settings)
    except (ConfigError, UnknownModelError) as error:
        if str(error).startswith(where):
            raise
        raise ConfigError(f"{where}: {error}") from None


def _price(row: object, where: str, card: Mapping[str, Any]) -> Price:
    rates = dict(_table(row, f"{where}: price", _PRICE_KEYS))
    _require(rates, f"{where}: price", ("input", "output"))
    if rates.get("long_context") is not None:
        long = dict(_table(rates["long_context"], f"{where}: price.long_context", _LONG_KEYS))
        _require(long, f"{where}: price.long_context", ("above_tokens", "input", "output"))
        rates["long_context"] = LongContext(**long)
    rates.setdefault("source", card.get("source") or where)
    if as_of := rates.get("as_of", card.get("as_of", "")):
        rates["as_of"] = _date("as_of", as_of).isoformat()
    return Price(**rates)


def _require(table: Mapping[str, Any], where: str, keys: Iterable[str]) -> None:
    for key in keys:
        if key not in table:
            raise ConfigError(f"{where}: {key} is missing")


def _table(value: object, where: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a table with {', '.join(known)}, got {type(value).__name__}")
    for key in value:
        if key not in known:
            raise ConfigError(f"{where} has no field {key!r}; {_suggest(str(key), known)}")
    return value
