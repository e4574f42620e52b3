"""Keeps what is young and small; of that, the urgent and the short-lived goes first."""

from componentize_py_types import Err
from settings import settings
from wit_world import exports
from wit_world.imports import common

CRITICAL = 0
REFUSE = 0
# What a class is worth, most urgent first, and what is added when there is little time left.
WORTHS = [250, 200, 150, 100, 50]
SOON = 40
MOST = 255
BOUNDS = {"max_age_s": (1, 604800), "max_kib": (1, 65536), "soon_s": (0, 604800)}


def is_right(name, value):
    least, most = BOUNDS[name]
    return least <= value <= most


class Policy(exports.Policy):
    # Each call comes to an object of its own: what lasts belongs to the class.
    max_age_ms = 3600000
    max_bytes = 64 * 1024
    soon_ms = 60000

    def configure(self, settings_):
        given = settings(settings_, {"max_age_s": 3600, "max_kib": 64, "soon_s": 60}, is_right)
        Policy.max_age_ms = given["max_age_s"] * 1000
        Policy.max_bytes = given["max_kib"] * 1024
        Policy.soon_ms = given["soon_s"] * 1000

    def carry(self, now_ms, room, batch):
        columns = (batch.class_, batch.bytes, batch.age_ms, batch.left_ms, batch.is_own, batch.is_durable)
        return bytes(self.worth(*row) for row in zip(*columns))

    def worth(self, asked, size, age_ms, left_ms, is_own, is_durable):
        # What the host keeps anyway.
        must_stay = is_own or is_durable or asked == CRITICAL
        if not must_stay and (age_ms > self.max_age_ms or size > self.max_bytes):
            return REFUSE
        return min(WORTHS[asked] + (SOON if left_ms <= self.soon_ms else 0), MOST)

    def state_version(self):
        return 0

    def save(self):
        return b""

    def load_state(self, from_version, state):
        if state:
            raise Err(common.Refusal_UnknownVersion(from_version))
