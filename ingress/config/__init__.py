"""From a config to rules: parsed, validated, and everything that is wrong said at once."""
