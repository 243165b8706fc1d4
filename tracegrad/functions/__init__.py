"""Torch's functions: plain functions of primitives, one file for each page of its documentation."""
