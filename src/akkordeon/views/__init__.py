"""Shows what happens in a network: the page, diagnoses in words, figures for papers, and traces.

Views read plain events, as run folders hold them and recorders hand them on, and know nothing else of a network. Open
`frames` first, which folds events into frames, then `diagnosis` and `server`.
"""
