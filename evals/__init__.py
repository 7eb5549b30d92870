"""Measures Fireside: cases, scorers, fitting and calibration. Runs the very line that the bots run."""
