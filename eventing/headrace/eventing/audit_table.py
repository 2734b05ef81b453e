"""The table of an audit: what became of each request, in about 200 bytes a request whatever its size.

Ids are kept as 16-byte digests. An answer names its request by id alone, and ids are unique only together with their
source: where several requests share an id, the answer's own id, which is made of the request's source and id, tells
whose it is.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.eventing.event import CloudEvent
from headrace.eventing.results import Responder, result_id

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = -1
MOST_EXTRA = 8
"""Places of further answers to one request that are kept; all are counted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it stands in the results."""

    id: str
    causation: str
    """Id of the request."""
    kind: str
    """The answer's ``type``."""
    responder: Responder | None
    """Who answered; None where it does not say it as Headrace does."""
    at: int
    """Milliseconds since the epoch; -1 where nobody knows."""
    partition: int
    offset: int


class Table:
    """What became of each request; an entry is a number. Feed it requests first, then answers and letters."""

    def __init__(self) -> None:
        self._heads: dict[bytes, int] = {}
        """By id, the first entry."""
        self._others: dict[bytes, int] = {}
        """By source and id, further entries with the same id."""
        self._next = array("i")
        self._source = array("i")
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._expected: dict[str, int] = {}
        """Answer ids that requests with a shared id must get."""
        self._expanded: set[tuple[int, str, Responder | None]] = set()
        self.asked, self.answered, self.letters = array("I"), array("I"), array("I")
        """How often each entry's request was published, answered, and given up."""
        self.first_asked, self.last_asked, self.first_answered = array("q"), array("q"), array("q")
        """Milliseconds since the epoch; -1 for unknown or never."""
        self.partition, self.offset = array("i"), array("q")
        """Where the request was published last."""
        self.answer_partition, self.answer_offset = array("i"), array("q")
        """Where the first answer is."""
        self.extra: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        """Where further answers are, up to :data:`MOST_EXTRA` of them."""

    def __len__(self) -> int:
        return len(self._next)

    def request(self, identifier: str, source: str, *, at: int, partition: int, offset: int) -> None:
        """Count a request."""
        entry = self._entry(identifier, source)
        if not self.asked[entry]:
            self.first_asked[entry] = at
        self.asked[entry] += 1
        self.last_asked[entry], self.partition[entry], self.offset[entry] = at, partition, offset

    def answer(self, answer: Answer) -> None:
        """Count an answer; one to an unknown request opens an entry that was never asked."""
        key = _digest(answer.causation)
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = self._new(NOBODY)
        entry = head if self._next[head] == NOBODY else self._meant(head, answer)
        self.answered[entry] += 1
        if self.answered[entry] == 1:
            self.first_answered[entry] = answer.at
            self.answer_partition[entry], self.answer_offset[entry] = answer.partition, answer.offset
        elif len(self.extra[entry]) < MOST_EXTRA:
            self.extra[entry].append((answer.partition, answer.offset))

    def letter(self, identifier: str, source: str) -> None:
        """Count a dead letter; one of an event that was never asked counts for nobody."""
        entry = self._find(identifier, source)
        if entry is not None:
            self.letters[entry] += 1

    def _entry(self, identifier: str, source: str) -> int:
        found = self._find(identifier, source)
        if found is not None:
            return found
        number = self._number(source)
        key = _digest(identifier)
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = self._new(number)
            return head
        if self._source[head] == NOBODY:  # answers came before it was seen to be asked
            self._source[head] = number
            return head
        entry = self._others[_digest(source, identifier)] = self._new(number)
        self._next[entry], self._next[head] = self._next[head], entry
        return entry

    def _find(self, identifier: str, source: str) -> int | None:
        head = self._heads.get(_digest(identifier))
        if head is None:
            return None
        if self._source[head] == self._numbers.get(source, NOBODY - 1):
            return head
        return self._others.get(_digest(source, identifier)) if self._next[head] != NOBODY else None

    def _meant(self, head: int, answer: Answer) -> int:
        """Of the requests that share an id, the one that this answer's id was made of; else the next unanswered."""
        expansion = (head, answer.kind, answer.responder)
        if answer.responder and expansion not in self._expanded:
            self._expanded.add(expansion)
            for entry in self._chain(head):
                request = CloudEvent({"id": answer.causation, "source": self._names[self._source[entry]]})
                self._expected[result_id(request, answer.responder, kind=answer.kind)] = entry
        if (found := self._expected.get(answer.id)) is not None:
            return found
        waiting = (entry for entry in self._chain(head) if self.answered[entry] < self.asked[entry])
        return next(waiting, head)

    def _chain(self, head: int) -> Iterator[int]:
        entry = head
        while entry != NOBODY:
            yield entry
            entry = self._next[entry]

    def _number(self, source: str) -> int:
        number = self._numbers.get(source)
        if number is None:
            number = self._numbers[source] = len(self._names)
            self._names.append(source)
        return number

    def _new(self, source: int) -> int:
        entry = len(self._next)
        self._next.append(NOBODY)
        self._source.append(source)
        for counts in (self.asked, self.answered, self.letters):
            counts.append(0)
        for column in (self.first_asked, self.last_asked, self.first_answered):
            column.append(-1)
        for column in (self.partition, self.offset, self.answer_partition, self.answer_offset):
            column.append(NOBODY)
        return entry


def _digest(*parts: str) -> bytes:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
