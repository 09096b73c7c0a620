"""Says in words what is wrong with a message."""

from typing import Any

from pydantic import ValidationError


def explain(error: ValidationError) -> str:
    """Return a sentence for each thing that is wrong, naming the field, what was sent and what is allowed."""
    return " ".join(_explain_one(dict(problem)) for problem in error.errors() if not _is_union_noise(dict(problem)))


def _is_union_noise(problem: dict[str, Any]) -> bool:
    # A base model may be an id or a whole spec: pydantic reports both branches, only one was meant.
    branch = problem["loc"][1:2]
    return bool(branch == ("BaseModelSpec",) and problem["type"] == "model_type")


def _explain_one(problem: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in problem["loc"] if part != "BaseModelSpec") or "the request"
    sent, limits = problem.get("input"), problem.get("ctx", {})
    shown = repr(sent) if len(repr(sent)) <= 60 else f"{repr(sent)[:57]}…"
    match problem["type"]:
        case "extra_forbidden":
            return f"'{field}' is not a known field; check its spelling or leave it out."
        case "missing":
            return f"'{field}' is missing."
        case "greater_than_equal":
            return f"'{field}' is {shown}; the least is {_limit(limits['ge'])}."
        case "greater_than":
            return f"'{field}' is {shown}; it must be more than {_limit(limits['gt'])}."
        case "less_than_equal":
            return f"'{field}' is {shown}; the most is {_limit(limits['le'])}."
        case "int_parsing" | "int_from_float" | "int_type":
            return f"'{field}' is {shown}; it must be a whole number."
        case "float_parsing" | "float_type":
            return f"'{field}' is {shown}; it must be a number."
        case "finite_number":
            return f"'{field}' is {shown}; it must be a finite number."
        case "string_too_long":
            return f"'{field}' has {len(str(sent)):,} characters; the most is {limits['max_length']:,}."
        case "string_too_short":
            return f"'{field}' is empty."
        case "too_long":
            return f"'{field}' has {limits['actual_length']:,} entries; the most is {limits['max_length']:,}."
        case "too_short":
            return f"'{field}' has {limits['actual_length']:,} entries; the least is {limits['min_length']:,}."
        case "value_error":
            return f"'{field}' {limits['error']}."
        case _:
            return f"'{field}' is {shown}: {problem['msg'][0].lower()}{problem['msg'][1:]}."


def _limit(number: float) -> str:
    return f"{int(number) if number == int(number) else number:,}"
