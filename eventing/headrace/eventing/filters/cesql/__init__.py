"""CloudEvents SQL 1.0: parsed by a grammar, compiled to functions, evaluated without the text.

What belongs here: the language alone. What does not: the other dialects, and what is done with an event.
"""

from __future__ import annotations

from headrace.eventing.filters.cesql.expression import (
    Evaluation,
    Expression,
    compile_expression,
    compile_predicate,
)

__all__ = ["Evaluation", "Expression", "compile_expression", "compile_predicate"]
