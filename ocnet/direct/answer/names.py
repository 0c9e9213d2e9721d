"""What the values and the variables of a discretised problem are called."""

from ..transcription.transcription import Transcription


def rows_of(nlp: Transcription, along: bool) -> list[tuple[str, str]]:
    """The function of each value of a step, or of the end, and how the value is written."""
    kinds = (
        ("dynamics", nlp.nx), ("stage_cost", 1), ("path_constraint", nlp.along.rows),
    ) if along else (
        ("terminal_cost", 1), ("terminal_constraint", nlp.n_psi),
        ("terminal_inequality", nlp.end.rows - len(nlp.points.last)),
    )  # fmt: skip
    rows = [
        (name, f"{name}[{k}]" if size > 1 or name == "dynamics" else name)
        for name, size in kinds
        for k in range(size)
    ]
    # Of the path constraint, some rows hold at the end too.
    several = nlp.along.rows > 1
    return rows if along else rows + [
        ("path_constraint", f"path_constraint[{k}]" if several else "path_constraint")
        for k in nlp.points.last
    ]  # fmt: skip


def variable_name(nlp: Transcription, coordinate: int) -> str:
    """The name of an entry of `(z, u)`."""
    if coordinate < nlp.nx:
        return f"x[{coordinate}]"
    if coordinate >= nlp.nz:
        return f"u[{coordinate - nlp.nz}]"
    names = ["the final time"] if nlp.points.free_time else []
    for name, value in nlp.points.static.items():
        names += [name] * value.numel()
    return names[coordinate - nlp.nx]
