"""What the events of a fleet have in common."""

import dataclasses
from typing import get_args

import pytest

from mosdeploy.devices.events import Event, Message


def test_every_event_names_its_board_first():
    for kind in get_args(Event):
        assert dataclasses.fields(kind)[0].name == "host"


def test_events_are_frozen():
    message = Message("pi1", "reconnecting")
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.host = "pi2"
