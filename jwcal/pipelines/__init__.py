"""Pipeline definitions, one TOML file each."""
