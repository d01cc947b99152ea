"""Models as strangers have them: trained exactly as in their own loop, or refused with the reason.

`fields` holds the zoo, one file per field; `trials` trains an entry both ways, `late` checks gradients with several
batches in flight, `fuzz` makes models up. `python -m tests.strangers.zoo` runs all of it, the tests here a part.
"""
