"""Measures inversion and editing: data sets, metrics, methods, and the named runs behind `renoise evaluate`.

Needs the extra `renoise[evaluation]`.
"""
