"""What a store keeps of a schedule, as JSON that only we read.

That is what it fires and when, with what people changed of it; and what has become of it. A beat writes the second part
alone and hands on the first as it found it, so that one of an older release forgets nothing that a newer one put there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from taskq.domain.schedule import Misfire, Note, Overlap, Rules, Why
from taskq.domain.timing import At, Cron, Every, Timing
from taskq.errors import CorruptRecord, InvalidOption

MOST_FIRED = 30
"""Fires that a schedule remembers."""
MOST_NOTES = 100
"""Lines of its ledger that it keeps."""


class Definition(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What fires when."""

    task: str
    timing: dict[str, Any]
    """See `plain_timing`."""
    arguments: bytes = b"{}"
    """The payload: parameter name → value as JSON, encrypted where `is_sealed`."""
    is_sealed: bool = False
    misfire: str = Misfire.LATEST.value
    overlap: str = Overlap.ALLOW.value
    jitter: float = 0.0
    start: datetime | None = None
    end: datetime | None = None
    options: dict[str, Any] = {}
    """Of each call, as plain data (taskq.options.CallOptions)."""

    def rules(self) -> Rules:
        """How it fires.

        Raises:
            InvalidOption: the store holds what is no such rule.
        """
        return Rules(
            timing=read_timing(self.timing),
            misfire=self.misfire,
            overlap=self.overlap,
            jitter=self.jitter,
            start=self.start,
            end=self.end,
        )


class Pause(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a schedule does not fire."""

    reason: str
    next_at: datetime | None = None
    """When it would have fired next."""
    is_retirement: bool = False
    """Whether it is because no code declares it any more."""


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schedule: what was declared or made, and what people changed of it."""

    definition: Definition
    is_declared: bool = False
    """Whether code declares it; else people have made it."""
    changes: dict[str, Any] = {}
    """Fields of the definition that people set to something else, as JSON has them."""
    pause: Pause | None = None

    @property
    def effective(self) -> Definition:
        """What holds: the definition, with what people changed.

        Raises:
            CorruptRecord: a change is no such value.
        """
        if not self.changes:
            return self.definition
        try:
            return msgspec.convert({**plain(self.definition), **self.changes}, Definition)
        except msgspec.ValidationError as error:
            raise CorruptRecord(f"the schedule cannot be read: {error}") from None


class Fired(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fire."""

    instant: datetime | None
    """For which it was; None: somebody had it fire at once."""
    at: datetime
    """When it was enqueued, by the store's clock."""
    id: str
    """Of the task."""


class _Line(msgspec.Struct, frozen=True):
    """A note as it is kept."""

    why: str
    first: datetime
    last: datetime
    number: int
    noted_at: datetime


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has become of a schedule."""

    fired: tuple[Fired, ...] = ()
    """The newest last."""
    lines: tuple[_Line, ...] = ()
    declared_at: datetime | None = None
    """When code last declared it, roughly; None: it never did."""

    @property
    def notes(self) -> list[Note]:
        """The ledger, the newest line last."""
        return [Note(_why(line.why), *msgspec.structs.astuple(line)[1:]) for line in self.lines]

    def with_fired(self, fired: Sequence[Fired]) -> State:
        """The state after these fires."""
        return msgspec.structs.replace(self, fired=(*self.fired, *fired)[-MOST_FIRED:])

    def without_fired(self, id: str) -> State:
        """The state where one of them was refused."""
        return msgspec.structs.replace(self, fired=tuple(one for one in self.fired if one.id != id))

    def with_notes(self, notes: Sequence[Note]) -> State:
        """The state with more lines in the ledger; one that goes on where the last one ended becomes part of it."""
        lines = list(self.lines)
        for note in notes:
            line = _Line(note.why.value, *note[1:])
            last = lines[-1] if lines else None
            if last is not None and _goes_on(last, line, self.fired):
                line = msgspec.structs.replace(line, first=last.first, number=last.number + line.number)
                lines.pop()
            lines.append(line)
        return msgspec.structs.replace(self, lines=tuple(lines[-MOST_NOTES:]))


def _goes_on(last: _Line, line: _Line, fired: Sequence[Fired]) -> bool:
    """Whether a line says the same of a later look, and nothing has fired in between."""
    is_alike = last.why == line.why and last.noted_at < line.noted_at
    return is_alike and (not fired or fired[-1].at < last.noted_at)


def _why(word: str) -> Why:
    try:
        return Why(word)
    except ValueError:
        raise CorruptRecord(f"the ledger of a schedule says {word!r}, which a later release may know") from None


def write(value: Spec | State) -> bytes:
    """What the store keeps.

    >>> write(State())
    b'{}'
    """
    return msgspec.json.encode(value)


_spec_decoder, _state_decoder = msgspec.json.Decoder(Spec), msgspec.json.Decoder(State)


def read_spec(data: bytes) -> Spec:
    """Read what `write` wrote of a spec.

    Raises:
        CorruptRecord: it is no such JSON.
    """
    try:
        return _spec_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"the schedule cannot be read: {error}") from None


def read_state(data: bytes) -> State:
    """Read what `write` wrote of a state; b"" is that of a schedule which has never fired.

    Raises:
        CorruptRecord: it is no such JSON.
    """
    try:
        return _state_decoder.decode(data) if data else State()
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"the state of the schedule cannot be read: {error}") from None


def plain(definition: Definition) -> dict[str, Any]:
    """A definition as JSON has it: what is the default is left out."""
    return cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(definition)))


def differences(base: Definition, wanted: Definition) -> dict[str, Any]:
    """The fields in which a definition differs from another, as JSON has them.

    >>> nightly = Definition(task="report", timing={"cron": "@daily"})
    >>> differences(nightly, msgspec.structs.replace(nightly, jitter=5.0))
    {'jitter': 5.0}
    """
    names = [name for name in base.__struct_fields__ if getattr(base, name) != getattr(wanted, name)]
    told = cast("dict[str, Any]", msgspec.to_builtins(msgspec.structs.asdict(wanted)))
    return {name: told[name] for name in names}


def plain_timing(timing: Timing) -> dict[str, Any]:
    """A timing as plain data.

    Raises:
        InvalidOption: it is none of ours, so that no beat elsewhere would know it.

    >>> plain_timing(Every(minutes=5)), plain_timing(Cron("@daily", "Europe/Berlin"))
    ({'every': 300.0}, {'cron': '@daily', 'timezone': 'Europe/Berlin'})
    """
    if type(timing) is Cron:
        return {"cron": timing.expression, "timezone": timing.timezone}
    if type(timing) is Every:
        anchor = {} if timing.anchor is None else {"anchor": _told(timing.anchor)}
        return {"every": timing.interval.total_seconds(), **anchor}
    if type(timing) is At:
        return {"at": _told(timing.instant)}
    raise InvalidOption(f"a schedule's timing must be Cron(…), Every(…) or At(…), not {timing!r}")


def _told(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_timing(data: dict[str, Any]) -> Timing:
    """Read what `plain_timing` wrote, or what a person wrote by hand.

    Raises:
        InvalidOption: it is no such timing; the message says what is wrong.

    >>> read_timing({"every": 300})
    Every(seconds=300, minutes=0, hours=0, days=0, anchor=None)
    >>> read_timing({"often": True})
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: a timing is {"cron": …, "timezone": …}, {"every": …} or {"at": …}, not {'often': True}
    """
    match data:
        case {"cron": expression, **rest} if rest.keys() <= {"timezone"}:
            return Cron(expression, **rest)
        case {"every": seconds, **rest} if rest.keys() <= {"anchor"}:
            return Every(seconds=seconds, anchor=_instant("anchor", rest.get("anchor")))
        case {"at": instant, **rest} if not rest:
            return At(cast("datetime", _instant("at", instant)))
    raise InvalidOption(f'a timing is {{"cron": …, "timezone": …}}, {{"every": …}} or {{"at": …}}, not {data!r}')


def _instant(name: str, value: object) -> datetime | None:
    if not isinstance(value, str):
        return cast("datetime | None", value)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise InvalidOption(f"{name} must be an instant such as 2027-01-01T00:00:00Z, not {value!r}") from None
