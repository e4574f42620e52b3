"""What is large or late steps back by one class, and nothing else changes."""

from componentize_py_types import Err
from settings import settings
from wit_world import exports
from wit_world.exports import policy
from wit_world.imports import common

CRITICAL = 0
BULK = 4
MOST = {"large_kib": 1048576, "late_s": 86400}


class Policy(exports.Policy):
    # Each call comes to an object of its own: what lasts belongs to the class.
    large_bytes = 64 * 1024
    late_ms = 60000

    def configure(self, settings_):
        defaults = {"large_kib": 64, "late_s": 60}
        given = settings(settings_, defaults, lambda name, value: 1 <= value <= MOST[name])
        Policy.large_bytes = given["large_kib"] * 1024
        Policy.late_ms = given["late_s"] * 1000

    def classify(self, now_ms, batch):
        return bytes(map(self.step_back, batch.class_, batch.size, batch.age_ms))

    def step_back(self, asked, size, age_ms):
        if asked == CRITICAL or (size <= self.large_bytes and age_ms <= self.late_ms):
            return asked
        return min(asked + 1, BULK)

    # As the host shares a link without a plugin.
    def divide(self, now_ms, load):
        return policy.Shares(guaranteed=bytes([20, 30, 20, 15, 5]), burst=bytes([80, 60, 40, 30, 20]))

    def state_version(self):
        return 0

    def save(self):
        return b""

    def load_state(self, from_version, state):
        if state:
            raise Err(common.Refusal_UnknownVersion(from_version))
