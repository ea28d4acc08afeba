"""What disturbs a ramp beyond noise and cosmic rays, each with known truth."""

from jwcal.simulate.effects.base import CHOICES, Effect, Setting, build, check, parse

__all__ = ["CHOICES", "Effect", "Setting", "build", "check", "parse"]
