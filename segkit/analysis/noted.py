"""The cases that a run was trained and validated on, as its provenance notes them."""

from segkit.config.errors import InputError
from segkit.datasets.document import read_object
from segkit.engine.run import Run


def noted_cases(run: Run) -> dict[str, list[str]] | None:
    """Ids by side, `training` and `validation`, those of a resumed run together; None where the run began without noting them.

    Raises InputError where the provenance is damaged.
    """
    facts = read_object(run.provenance) if run.provenance.exists() else {}
    if "cases" not in facts:
        return None
    try:
        cases = [each["cases"] for each in (facts, *facts.get("resumed", ())) if "cases" in each]
        return {side: list(dict.fromkeys(str(case) for each in cases for case in each[side])) for side in ("training", "validation")}
    except (TypeError, KeyError, AttributeError) as error:
        expected = "what segkit train writes"
        raise InputError("SK-A019", "the provenance is damaged", where=run.provenance, expected=expected, got=str(error)) from None
