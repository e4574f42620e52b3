"""Hears a topic, counts what was said there, and says something when told to."""

import json

from componentize_py_types import Err
from settings import settings
from wit_world import exports
from wit_world.exports import events
from wit_world.imports import common, log

# How long what it says is worth delivering.
TTL_MS = 60000
STATE_VERSION = 1


class Events(exports.Events):
    # Each call comes to an object of its own: what lasts belongs to the class.
    topic = "notes"
    heard = 0

    def configure(self, node, settings_):
        Events.topic = settings(settings_, {"topic": "notes"})["topic"]
        return [events.Effect_Subscribe(self.topic)]

    def handle(self, now_ms, seed, event):
        if isinstance(event, events.Event_Message):
            Events.heard += 1
            log.write(log.Level.INFO, f"heard {len(event.value.payload)} bytes")
            return [events.Effect_Notify(events.Notice(kind="note", payload=plain({"heard": self.heard})))]
        if isinstance(event, events.Event_Command):
            return self.command(event.value.name, event.value.payload)
        return []

    def command(self, name, payload):
        if name == "count":
            return [events.Effect_Reply(plain({"heard": self.heard}))]
        if name != "say":
            raise Err(events.Failure_UnknownCommand(name))
        if not payload:
            raise Err(events.Failure_BadInput("there is nothing to say"))
        said = events.Publication(topic=self.topic, class_=events.Class.NORMAL, ttl_ms=TTL_MS, payload=payload)
        return [events.Effect_Publish(said), events.Effect_Reply(plain({"said": len(payload)}))]

    def state_version(self):
        return STATE_VERSION

    def save(self):
        return self.heard.to_bytes(8, "little")

    def load_state(self, from_version, state):
        if from_version != STATE_VERSION:
            raise Err(common.Refusal_UnknownVersion(from_version))
        if len(state) != 8:
            raise Err(common.Refusal_BadState())
        Events.heard = int.from_bytes(state, "little")


def plain(value):
    return json.dumps(value, separators=(",", ":")).encode()
