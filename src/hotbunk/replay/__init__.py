"""The live replay: a trace's requests, sent to a server at their times, and what it makes of them."""
