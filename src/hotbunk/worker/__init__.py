"""One process for each device: loads, batches, samples, suspends and resumes; speaks token ids only."""
