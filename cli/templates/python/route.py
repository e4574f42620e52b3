"""Routes by the fewest hops, and around neighbours whose queues are full."""

from componentize_py_types import Err
from settings import settings
from wit_world import exports
from wit_world.imports import common

HOLD = 4294967294
ABSTAIN = 4294967293
TOPIC_BIT = 1 << 31
STATE_VERSION = 1


class Policy(exports.Policy):
    # Each call comes to an object of its own: what lasts belongs to the class.
    max_queue_bytes = 256 * 1024
    # The neighbours that lead to a destination in the last view, the best first.
    known = {}
    decided = 0

    def configure(self, settings_):
        given = settings(settings_, {"max_queue_kib": 256}, lambda _, value: 1 <= value <= 1048576)
        Policy.max_queue_bytes = given["max_queue_kib"] * 1024

    def observe(self, now_ms, links, ways):
        known = {}
        for dest, via, cost_us, hops in zip(ways.dest, ways.via, ways.cost_us, ways.hops):
            is_full = links.queued_bytes[via] > self.max_queue_bytes
            known.setdefault(dest, []).append((is_full, hops, links.rtt_us[via] + cost_us, via))
        Policy.known = {dest: [via for *_, via in sorted(ways)] for dest, ways in known.items()}

    def decide(self, now_ms, batch):
        Policy.decided += len(batch.dest)
        return [self.route(dest, ingress) for dest, ingress in zip(batch.dest, batch.ingress)]

    def route(self, dest, ingress):
        if dest & TOPIC_BIT:
            return ABSTAIN
        return next((via for via in self.known.get(dest, ()) if via != ingress), HOLD)

    def state_version(self):
        return STATE_VERSION

    # Only what outlives a view: rows of neighbours change with every one.
    def save(self):
        return self.decided.to_bytes(8, "little")

    def load_state(self, from_version, state):
        if from_version != STATE_VERSION:
            raise Err(common.Refusal_UnknownVersion(from_version))
        if len(state) != 8:
            raise Err(common.Refusal_BadState())
        Policy.decided = int.from_bytes(state, "little")
