"""Prefers parents that are near and have room, and the present one a little."""

from componentize_py_types import Err
from settings import settings
from wit_world import exports
from wit_world.imports import common

# How many points room and nearness can bring.
ROOM = 600
NEARNESS = 400
UNKNOWN = 4294967295


class Policy(exports.Policy):
    # Each call comes to an object of its own: what lasts belongs to the class.
    stay = 50

    def configure(self, settings_):
        Policy.stay = settings(settings_, {"stay": 50}, lambda _, value: 0 <= value <= 1000)["stay"]

    def score(self, now_ms, asker, candidates):
        columns = (candidates.distance_m, candidates.children, candidates.max_children, candidates.is_parent)
        return [self.points(asker.max_distance_m, *row) for row in zip(*columns)]

    def points(self, max_distance_m, distance_m, children, max_children, is_parent):
        points = part(ROOM, max(max_children - children, 0), max_children)
        if UNKNOWN not in (max_distance_m, distance_m):
            points += part(NEARNESS, max(max_distance_m - distance_m, 0), max_distance_m)
        return min(points + (self.stay if is_parent else 0), 1000)

    def state_version(self):
        return 0

    def save(self):
        return b""

    def load_state(self, from_version, state):
        if state:
            raise Err(common.Refusal_UnknownVersion(from_version))


def part(whole, some, of_all):
    """That part of `whole` which `some` is of `of_all`."""
    return whole * some // of_all if of_all else 0
