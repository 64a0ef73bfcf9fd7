"""Read configs: overrides, the settings that are spread to several places, and checks that every key is used."""
