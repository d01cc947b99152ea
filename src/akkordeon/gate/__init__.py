"""A gate: a named piece of the model with its own optimizer.

Open `description.Gate` first, which describes one, then `actor.GateActor`, which runs one. The actor hands each batch
to `forward` and `backward`, keeps it in `pending` until its gradient arrives, and lets `learner` update the weights in
`versions`.
"""

from akkordeon.gate.description import Gate as Gate
