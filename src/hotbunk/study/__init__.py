"""The experiments of the study and beyond, their report, and the models that they need."""
