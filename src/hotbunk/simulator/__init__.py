"""The simulator: a device made of costs and a clock of its own, driving the very scheduler that decides live."""
