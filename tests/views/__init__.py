"""The page, diagnoses, figures and traces."""
