"""From YAML to typed settings; knows nothing medical."""
