"""The pipeline configuration, from text to types.

`document` reads the YAML safely, `configuration` says what it means, `model` holds the
result. Both daemons, and the command line without a farm, use these and nothing else.
"""
