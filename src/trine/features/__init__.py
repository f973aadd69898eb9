"""Feature views over datasets: point-in-time training sets and the same values online."""
