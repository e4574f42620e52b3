"""Has links to the nodes whose name or label is listed, and to everybody while nobody is."""

from componentize_py_types import Err
from settings import settings
from wit_world import exports
from wit_world.exports import policy
from wit_world.imports import common


class Policy(exports.Policy):
    # Each call comes to an object of its own: what lasts belongs to the class.
    names = []
    labels = []

    def configure(self, settings_):
        def is_right(name, value):
            return name != "labels" or all("=" in item for item in items(value))

        given = settings(settings_, {"names": "", "labels": ""}, is_right)
        Policy.names = items(given["names"])
        Policy.labels = [tuple(item.split("=", 1)) for item in items(given["labels"])]

    def admit(self, now_ms, place, visitors):
        return [self.is_welcome(visitor) for visitor in visitors]

    def is_welcome(self, visitor):
        is_open = not self.names and not self.labels
        # Whoever has not said who he is is asked about again when he has.
        return is_open or visitor.health == policy.Health.UNKNOWN or self.is_listed(visitor)

    def is_listed(self, visitor):
        is_label = any((label.key, label.value) in self.labels for label in visitor.labels)
        return is_label or visitor.name in self.names

    def state_version(self):
        return 0

    def save(self):
        return b""

    def load_state(self, from_version, state):
        if state:
            raise Err(common.Refusal_UnknownVersion(from_version))


def items(text):
    """The items of a list with commas between."""
    return [item for item in map(str.strip, text.split(",")) if item]
