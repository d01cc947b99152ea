"""What staleness costs, and what compensations win back: experiments on real actors, with delays that are chosen."""
