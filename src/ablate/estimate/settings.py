"""What the words of a command line say about the device, the assumptions and the machine of a run."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.cli import compose
from ablate.config import section
from ablate.errors import UserError
from ablate.estimate.device import AssumptionsConfig, DeviceConfig, check_settings
from ablate.estimate.host import Machine, memory_bytes

MACHINE_KEYS = (
    "nodes",
    "processes_per_node",
    "gpus_per_node",
    "generation_nodes",
    "gpus_that_generate",
    "cpus_per_node",
    "memory_per_node",
)
TIME_KEYS = ("time_limit_s", "stop_lead_s")
SETTINGS_KEYS = ("device", "assumptions")  # composed with conf/estimate.yaml, not with the run's configuration


def without_settings(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split overrides into those of the runs and those of conf/estimate.yaml."""
    is_setting = [override.split("=", 1)[0].split(".", 1)[0] in SETTINGS_KEYS for override in overrides]
    of_runs = [override for override, of_estimate in zip(overrides, is_setting, strict=True) if not of_estimate]
    return of_runs, [override for override, of_estimate in zip(overrides, is_setting, strict=True) if of_estimate]


def estimate_settings(overrides: Sequence[str]) -> tuple[DeviceConfig, AssumptionsConfig]:
    """The device and the assumptions of conf/estimate.yaml with overrides."""
    values = compose(overrides, config_name="estimate")
    device = section(DeviceConfig, values.device, "device")
    assumptions = section(AssumptionsConfig, values.assumptions, "assumptions")
    check_settings(device, assumptions)
    return device, assumptions


def count_of(own: dict[str, str], key: str, default: int | None) -> int | None:
    """The whole number that a word gives."""
    value = own.get(key)
    if value is None:
        return default
    if not value.isdecimal():
        raise UserError(f"{key}={value} must be a whole number, 0 or above: give a number")
    return int(value)


def machine_of(own: dict[str, str], device: DeviceConfig | None) -> Machine | None:
    """The machine that the words describe; None where they describe none."""
    if not own.keys() & set(MACHINE_KEYS):
        return None
    return Machine(
        nodes=count_of(own, "nodes", 1),
        processes_per_node=count_of(own, "processes_per_node", 1),
        gpus_per_node=count_of(own, "gpus_per_node", 0),
        generation_nodes=count_of(own, "generation_nodes", None),
        gpus_that_generate=count_of(own, "gpus_that_generate", None),
        cpus_per_node=count_of(own, "cpus_per_node", None),
        host_bytes=memory_bytes(own.get("memory_per_node", "")),
        gpu_bytes=None if device is None or device.is_cpu else device.memory_bytes,
    )
