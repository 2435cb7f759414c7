"""Every key name of the Redis adapter.

A shard is one hash slot: all its keys carry the tag `{namespace:shard}`, so that every script touches one node.
`<q>` is a queue's name, `<n>:<q>` the same with its length in bytes before it, where something follows the name.

    taskq:{ns:0}:meta               hash    version, shards, epoch and age of the store; the reapers' tick and hold
                 nothing            never written: each script names it, see `Keys.nothing`
                 queues             set     names of the queues that have, or had, tasks here

                 task:<id>          hash    the record (record.py names its fields)
                 log:<id>           list    what the task itself logged
                 digest:<id>        string  digest of an idempotent enqueue, for a day
                 gone:<bucket>      set     ids forgotten in one ten-minute bucket: the tombstones
                 done:<token>       string  what was answered to a call that forgot tasks, for ten minutes
                 out:<id>:<fence>   string  a result kept for a task of another backend

                 lane:<n>:<q>:<p>:<group>   stream  PENDING, one entry for each task; `i` is its id
                 lanes:<q>          zset    the non-empty lanes `<p>:<group>` of a queue, most urgent first; at
                                            its end those whose tenant has as much as it may
                 front:<q>          zset    PENDING again: by priority, then by the time of first becoming ready
                 schedules          zset    names of schedules, by the instant (µs) at which they are due, or +inf
                 schedule:<name>    hash    a schedule: q its queue, sp spec, st state, n when it is due, r revision
                 gates:<q>          zset    closed gates at which tasks wait, by the instant at which they may open
                 room:<n>:<q>:<gate>  zset  PENDING at that gate, ordered as in `front`
                 cleared:<q>        zset    PENDING, let out of a room, ordered likewise
                 rooms:<gate>       set     the queues with a room at that gate
                 gate:<gate>        hash    what a rate or a breaker has counted (_gates.lua)
                 holders:<gate>     set     the running tasks that hold a slot
                 overrides          hash    what holds for gates instead of what tasks bring along, by name
                 blocked:<q>        zset    BLOCKED, by the instant of the enqueue
                 waits:<id>         set     its parents that have not ended
                 unsure             zset    BLOCKED tasks whose parents may not have been told of them, by that instant
                 children:<id>      set     `<c, r or f><id>` of those that wait for a task, or a flow
                 out                zset    `<s><id>` of parents that have ended and whose children are yet to be told
                 flow:<id>          hash    a flow, and what it counts here
                 members:<id>       list    ids of its members here
                 failed:<id>        zset    those that ended otherwise than COMPLETED
                 flows              zset    flows that are at home here, by the instant of their creation
                 held               zset    those that hold their members and are not closed, likewise
                 looks              zset    flows of which something may be due
                 unique:<key>       string  who holds a unique key: <s, d or t><id>
                 due:<q>            zset    SCHEDULED, by the instant at which it becomes ready
                 retry:<q>          zset    RETRYING, likewise
                 leases             zset    RUNNING: `<id>:<fence>:<worker>` by the instant at which the lease runs out
                 cancels            set     RUNNING ids that somebody wants cancelled
                 expiring           zset    waiting tasks with a time to live, by its end
                 end:<n>:<q>:<s>:<retention>  stream  final, one entry for each call that ended tasks
                 ends:<q>           hash    `<s>:<retention>` of those streams → ids already pruned of its first entry

                 queue:<q>          hash    counters, pause, limits, the turns of aging and groups, the newest purge
                 wake:<q>           list    up to four tokens: a waiting worker takes one and looks
                 claim:<worker>     string  the newest claim of a worker: its request id and what it was given
                 worker:<id>        hash    what a worker says of itself
                 workers            zset    worker ids, by the instant at which they count as gone
                 orders:<id>        list    what a worker is told with its next report
                 found:<s>:<i>      zset    ended tasks by what they are found under, by the instant of the end
                 values:<k>         zset    what they are found under
                 indexed:<q>        hash    `<s>:<retention>` → the entry of that stream up to which they are
                 docs:<kind>        hash    documents: id → "<version> <data>"
                 docids:<kind>      zset    their ids
                 journal:<name>     stream  a journal, one entry for each number
                 quotas             hash    what is set for tenants (_tenants.lua)
                 tenants            zset    the names of those
                 loads              hash    what tenants have: `n:<tenant>` unfinished tasks, `b:<tenant>` bytes of them
                 shares:<q>         hash    tenant → how many of its tasks run; '' all of them together
                 left               hash    figures to be rolled up: id → data
                 lefts              zset    their ids, by the instant at which they were left
                 figures:<step>     hash    figures of so many seconds each: the instant → "<version> <data>"
                 duty:<name>        string  who has taken a duty

    taskq:{ns:0}:ended:<id>         channel  a task that somebody waits for has ended
    taskq:{ns:0}:event:<topic>      channel  the event bus

`<p>` is the priority 0 … 3, `<s>` the letter of a state (record.py), `<gate>` a name as in taskq.domain.limits, `<k>`
the letter of what tasks are found by (_found.lua), `<i>` is `<k>:<value>`.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from typing import NamedTuple

_KINDS = re.compile(
    rb"""taskq:\{[^{}]+:\d+\}:(
        meta | queues | leases | cancels | expiring | workers | schedules | unsure | out | flows | held | looks
      | left | lefts | quotas | tenants | loads | overrides
      | (task|log|digest|waits|children|flow|members|failed):[0-9a-f-]{36}
      | gone:\d+
      | out:[0-9a-f-]{36}:\d+
      | (lanes|front|gates|cleared|blocked|due|retry|ends|queue|wake|claim|worker|orders|unique|schedule):.*
      | (docs|docids|journal|indexed|duty|shares):.*
      | figures:\d+
      | found:[cxdke]:[ntgef]:.*
      | values:[ntgef]
      | (gate|holders|rooms):[rcb]:.*
      | room:\d+:.*:[rcb]:.*
      | done:[0-9a-f]+
      | lane:\d+:.*:[0-3]:.*
      | end:\d+:.*:[cxdke]:\d+
    )""",
    re.VERBOSE | re.DOTALL,
)
SLOTS = 16_384


class Keys(NamedTuple):
    """The names of one shard of one namespace."""

    namespace: str
    shard: int

    @property
    def tag(self) -> str:
        """What decides the hash slot."""
        return f"{self.namespace}:{self.shard}"

    @property
    def prefix(self) -> str:
        """What every key of the shard begins with."""
        return f"taskq:{{{self.tag}}}:"

    @property
    def slot(self) -> int:
        """The hash slot, as the Redis Cluster specification defines it: CRC-16/XMODEM of the tag.

        >>> Keys("default", 0).slot
        6591
        """
        return crc_hqx(self.tag.encode(), 0) % SLOTS

    @property
    def meta(self) -> str:
        """The hash that says how the shard is laid out; the first key of every script."""
        return f"{self.prefix}meta"

    @property
    def nothing(self) -> str:
        """A key that never exists; the second key of every script.

        While a slot is moved from one node of a cluster to another, some of its keys are here and some there. A server
        that misses a declared key then refuses the script before it begins (TRYAGAIN); without one it would break off
        in the middle, at the first undeclared key that has gone, with half of its writes done.
        """
        return f"{self.prefix}nothing"

    @property
    def queues(self) -> str:
        """The set of queue names."""
        return f"{self.prefix}queues"

    @property
    def overrides(self) -> str:
        """What holds for gates instead of what tasks bring along."""
        return f"{self.prefix}overrides"

    @property
    def leases(self) -> str:
        """The leases of running tasks."""
        return f"{self.prefix}leases"

    def task(self, id: str) -> str:
        """The record of a task."""
        return f"{self.prefix}task:{id}"

    def log(self, id: str) -> str:
        """What a task logged."""
        return f"{self.prefix}log:{id}"

    def result(self, id: str, fence: int) -> str:
        """A result kept for another backend."""
        return f"{self.prefix}out:{id}:{fence}"

    def of(self, kind: str, queue: str) -> str:
        """One of the keys that each queue has: lanes, front, due, retry, ends, queue, wake."""
        return f"{self.prefix}{kind}:{queue}"

    def part(self, kind: str, queue: str, what: str) -> str:
        """One of several that a queue has: a lane `<p>:<group>`, an end `<s>:<retention>`, a room `<gate>`."""
        return f"{self.prefix}{kind}:{len(queue.encode())}:{queue}:{what}"

    def ended(self, id: str) -> str:
        """The channel on which the end of a task is told."""
        return f"{self.prefix}ended:{id}"

    def event(self, topic: str) -> str:
        """The channel of a topic of the event bus."""
        return f"{self.prefix}event:{topic}"


def queue_of_wake(key: bytes) -> str:
    """The queue whose tokens lie in a list.

    >>> queue_of_wake(Keys("default", 0).of("wake", "mail").encode())
    'mail'
    """
    return key.decode().partition("}:wake:")[2]


def is_ours(key: bytes) -> bool:
    """Whether the adapter may have written a key of this name.

    >>> is_ours(b"taskq:{default:0}:queue:mail"), is_ours(b"taskq:mail")
    (True, False)
    """
    return _KINDS.fullmatch(key) is not None
