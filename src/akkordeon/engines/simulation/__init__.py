"""The simulation: a virtual clock, one seed, a message per step, faults on demand. Open `engine.Stepped` first."""
