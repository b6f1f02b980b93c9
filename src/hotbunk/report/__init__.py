"""Reports: sections of sentences, plots and tables, as one page that needs nothing else, and as text."""
