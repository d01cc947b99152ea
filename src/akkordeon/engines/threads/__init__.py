"""The embedded engine: actors on a pool of worker threads of this process. Open `engine.Threads` first."""
