"""What the host gives `configure`, as a dictionary. Values have the types of the manifest already."""

from componentize_py_types import Err
from wit_world.imports import common


def settings(given, defaults, is_right=lambda name, value: True):
    """Returns the settings with defaults for those that are absent.

    Raises what the host reports: an unknown name, or a value that `is_right` does not accept.
    """
    out = dict(defaults)
    for setting in given:
        if setting.name not in defaults:
            raise Err(common.Refusal_UnknownSetting(setting.name))
        if not is_right(setting.name, setting.value.value):
            raise Err(common.Refusal_BadSetting(setting.name))
        out[setting.name] = setting.value.value
    return out
