"""Several requests in one call: all are checked, together, before the first is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scidiff.domain import Answer, Service
from scidiff.errors import UserError

__all__ = ["MAX_INPUTS", "answer_all"]

MAX_INPUTS = 64


def answer_all(service: Service, requests: Sequence[Any]) -> list[Answer]:
    """The answers, not yet computed. Raises UserError for one that cannot be given, or when they cost more than one call may."""
    if not 1 <= len(requests) <= MAX_INPUTS:
        raise UserError(f"inputs: {len(requests)} requests; from 1 to {MAX_INPUTS} are taken in one call")
    answers: list[Answer] = []
    for number, request in enumerate(requests):
        try:
            answers.append(service.answer(request))
        except UserError as error:
            raise UserError(f"inputs[{number}]: {error}") from error
    total = sum(answer.cost for answer in answers)
    if total > 1:
        raise UserError(f"inputs: these {len(answers)} requests cost {total:.3g} times what one call may: send fewer at a time")
    return answers
