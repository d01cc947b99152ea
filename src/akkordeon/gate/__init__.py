"""A gate: a named piece of the model with its own optimizer.

`Gate` describes one, `GateActor` is one that lives. The actor hands each batch to `forward` and `backward`, keeps it
in `pending` until its gradient arrives, and lets `learner` update the weights in `versions`. Open
`description.Gate` first, then `actor.GateActor`.
"""

from akkordeon.gate.description import Gate as Gate
