"""HTTP and text: the OpenAI API, the admin API and the metrics; templates, tokens in and out, stop strings."""
