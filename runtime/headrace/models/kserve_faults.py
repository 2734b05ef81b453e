"""Headrace's errors under KServe's own server."""

from __future__ import annotations

import math
from typing import Any

from starlette.exceptions import HTTPException

from headrace.errors import HeadraceError
from headrace.eventing.results import problem_of


class StatusUnderKServe:
    """Beside ``kserve.Model``, before it: Headrace's errors keep their HTTP status under KServe's server.

    KServe's server calls the model as a whole and answers 500 to every exception that it does not know; an
    ``HTTPException`` it knows. Headrace's server calls the hooks one by one, so this never stands in its way.
    """

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer as ``kserve.Model`` does.

        Raises:
            HTTPException: with the status of the :class:`~headrace.errors.HeadraceError` that a hook raised.
        """
        try:
            return await super().__call__(*args, **kwargs)  # type: ignore[misc]  # kserve.Model, next in the order of bases
        except HeadraceError as fault:
            problem = problem_of(fault)
            wait = problem.retry_after
            headers = None if wait is None else {"retry-after": str(math.ceil(wait))}
            raise HTTPException(problem.status, problem.detail, headers) from fault
