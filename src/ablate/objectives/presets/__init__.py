"""One file per objective: ``presets/NAME.py`` holds ``def NAME() -> Preset``. Numbers: conf/objective/NAME.yaml."""
