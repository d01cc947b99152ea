"""All entries of the zoo, by field and name."""

from tests.strangers.entry import Entry
from tests.strangers.fields import (
    audio,
    buffers,
    checkpointing,
    closures,
    flow,
    functions,
    generative,
    graphs,
    hugging_face,
    language,
    losses,
    modes,
    norms,
    parameters,
    parametrized,
    quantised,
    recurrent,
    state,
    teachers,
    travel,
    vision,
)

FIELDS: dict[str, dict[str, Entry]] = {
    "vision": vision.ENTRIES,
    "language": language.ENTRIES,
    "audio": audio.ENTRIES,
    "graphs": graphs.ENTRIES,
    "recurrent": recurrent.ENTRIES,
    "generative": generative.ENTRIES,
    "teachers": teachers.ENTRIES,
    "quantised": quantised.ENTRIES,
    "Hugging Face": hugging_face.ENTRIES,
    "checkpointing": checkpointing.ENTRIES,
    "norms": norms.ENTRIES,
    "functions": functions.ENTRIES,
    "parametrized": parametrized.ENTRIES,
    "parameters": parameters.ENTRIES,
    "buffers": buffers.ENTRIES,
    "modes": modes.ENTRIES,
    "closures": closures.ENTRIES,
    "travel": travel.ENTRIES,
    "flow": flow.ENTRIES,
    "state": state.ENTRIES,
    "losses": losses.ENTRIES,
}

ZOO = {f"{field}: {name}": entry for field, entries in FIELDS.items() for name, entry in entries.items()}

MOST_REFUSED = 0.1
"""The share of the zoo that may be refused."""
